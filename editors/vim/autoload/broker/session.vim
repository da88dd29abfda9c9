vim9script
# The one `broker lsp` of this Vim: started, asked, stopped.
#
# Rule 1: Vim itself frames the messages (channel mode 'lsp'); no other plugin is needed, and no document is sent.
# Rule 2: what is asked before it is ready waits; what it owes when it ends fails, each exactly once.
# Rule 3: Vim 9.0 takes a request of broker for the answer to one of its own with the same id, and the answer then for a
#         message like any other. So all of them go one way, `Heard`, which tells them apart by what they have.

import autoload './answers.vim'
import autoload './documents.vim'
import autoload './ui.vim'

export var ready = false
export var root = ''
export var status: dict<any> = {}
export var commands: list<dict<any>> = []
export var tools: list<dict<any>> = []
export var progress: dict<dict<any>> = {}

var job: job = null_job
var stopping = false
var Next: func = null_function
var waiting: list<func> = []
var owed: dict<func> = {} # by the id of the request

# The workspace: the nearest folder above the working directory with one of the markers, or that itself.
def Root(): string
  const here = getcwd()
  for marker in get(g:, 'broker_root_markers', ['.broker.toml', '.git'])
    const folder = finddir(marker, here .. ';')
    const found = empty(folder) ? findfile(marker, here .. ';') : folder
    if !empty(found)
      return fnamemodify(substitute(fnamemodify(found, ':p'), '/\+$', '', ''), ':h')
    endif
  endfor
  return here
enddef

def Description(): dict<any>
  const folder = {uri: documents.Uri(root), name: fnamemodify(root, ':t')}
  return {
    processId: getpid(),
    clientInfo: {name: 'Vim', version: string(v:versionlong)},
    rootUri: folder.uri,
    workspaceFolders: [folder],
    initializationOptions: {broker: {status: true, commands: true, results: true, pick: true, input: true, active: true}},
    capabilities: {
      textDocument: {synchronization: {didSave: true}, publishDiagnostics: {}},
      window: {workDoneProgress: true, showDocument: {support: true}},
      workspace: {configuration: true, workspaceFolders: true, applyEdit: true},
      general: {positionEncodings: ['utf-16']},
    },
  }
enddef

# Start it if it does not run. What is wrong, if it cannot be.
export def Start(): string
  if job != null_job && job_status(job) ==# 'run' && !stopping
    return ''
  endif
  const command = get(g:, 'broker_command', ['broker', 'lsp'])
  if !executable(command[0])
    return string(command[0]) .. ' is no program Vim can find; install it with `pipx install plugin-broker`, or set g:broker_command'
  endif
  root = Root()
  stopping = false
  job = job_start(command, {in_mode: 'lsp', out_mode: 'lsp', err_mode: 'nl', noblock: 1, cwd: root, stoponexit: '',
    env: get(g:, 'broker_env', {}), callback: Heard, exit_cb: Ended, err_cb: (_, _) => 0})
  if job_status(job) !=# 'run'
    return 'broker did not start: ' .. join(command)
  endif
  autocmd_add([{event: 'VimLeavePre', group: 'broker_leave', pattern: '*', cmd: 'broker#session#Leave()', replace: true}])
  Send('initialize', Description(), Opened)
  return ''
enddef

def Opened(error: any, result: any)
  if !empty(error)
    ui.Toast('broker: ' .. get(error, 'message', 'failed'), 1)
    return
  endif
  Tell('initialized', {})
  ready = true
  documents.Watch(get(result.capabilities, 'textDocumentSync', 0))
  Settle('')
enddef

def Settle(problem: string)
  const going = waiting
  waiting = []
  for Go in going
    Go(problem)
  endfor
  if !empty(problem)
    const failing = values(owed)
    owed = {}
    for Answer in failing
      Answer({message: problem}, null)
    endfor
  endif
enddef

# Call `Go(problem)` when it is ready, or when it ended instead.
export def WhenReady(Go: func)
  if ready
    Go('')
  else
    add(waiting, Go)
  endif
enddef

def Ended(ended: job, code: number)
  if ended != job
    return
  endif
  const wanted = stopping
  documents.Unwatch()
  job = null_job
  ready = false
  stopping = false
  status = {}
  commands = []
  tools = []
  progress = {}
  Settle('broker ended')
  if !wanted
    ui.Toast('broker ended with code ' .. code .. '; :Broker start starts it again', 1)
  endif
  const Then = Next
  Next = null_function
  if Then != null_function
    Then()
  endif
  redrawstatus!
enddef

# Send a notification, if it runs.
export def Tell(method: string, params: any)
  if job != null_job && job_status(job) ==# 'run'
    ch_sendexpr(job, {method: method, params: params})
  endif
enddef

# Ask it; `Answer(error, result)` is called exactly once.
export def Request(method: string, params: any, Answer: func)
  WhenReady((problem) => {
    if !empty(problem)
      Answer({message: problem}, null)
      return
    endif
    documents.Changed()
    Send(method, params, Answer)
  })
enddef

def Send(method: string, params: any, Answer: func)
  const sent = ch_sendexpr(job, {method: method, params: params}, {callback: Heard})
  owed[string(sent.id)] = Answer
enddef

def Answered(id: string, reply: dict<any>)
  if has_key(owed, id)
    const Answer = remove(owed, id)
    Answer(get(reply, 'error', {}), get(reply, 'result', null))
  endif
enddef

# Take back every request that runs, and what plugins do in the background.
export def Cancel()
  for [id, Answer] in ready ? items(owed) : []
    Tell('$/cancelRequest', {id: str2nr(id)})
    remove(owed, id)
    Answer({message: 'cancelled', cancelled: true}, null)
  endfor
  for each in values(progress)
    Tell('window/workDoneProgress/cancel', {token: each.token})
  endfor
enddef

def Heard(channel: channel, message: dict<any>)
  const method = get(message, 'method', '')
  const params = get(message, 'params', {})
  if empty(method)
    Answered(string(get(message, 'id', '')), message)
  elseif has_key(message, 'id')
    answers.Answer(method, params, (reply) => Reply(channel, message.id, reply))
  elseif method ==# 'window/showMessage'
    ui.Toast(params.message, params.type)
  elseif method ==# 'broker/status'
    status = params
    redrawstatus!
  elseif method ==# 'broker/commands'
    commands = params.commands
    Request('broker/list', {}, (_, found) => Listed(found))
  elseif method ==# '$/progress'
    Progressed(params.token, params.value)
  elseif method ==# 'textDocument/publishDiagnostics'
    ui.Diagnosed(params)
  endif
enddef

def Listed(found: any)
  if type(found) == v:t_dict
    tools = get(found, 'tools', [])
  endif
enddef

# Vim 9.0 sends requests of its own only; an answer to one has to be framed by hand.
def Reply(channel: channel, id: any, reply: dict<any>)
  if ch_status(channel) ==# 'open'
    const body = json_encode(extend({jsonrpc: '2.0', id: id}, reply))
    ch_sendraw(channel, 'Content-Length: ' .. len(body) .. "\r\n\r\n" .. body)
  endif
enddef

def Progressed(token: any, value: dict<any>)
  const key = string(token)
  if value.kind ==# 'end'
    if has_key(progress, key)
      remove(progress, key)
    endif
  else
    progress[key] = extend(get(progress, key, {token: token, title: ''}), value)
  endif
  redrawstatus!
enddef

# End it, with all plugins it started; `Then()` is called after that.
export def Stop(Then: func = null_function)
  if job == null_job
    if Then != null_function
      Then()
    endif
    return
  endif
  stopping = true
  Next = Then
  const ending = job
  Send('shutdown', {}, (_, _) => Tell('exit', {}))
  timer_start(5000, (_) => job_status(ending) ==# 'run' ? job_stop(ending, 'kill') : 0)
enddef

# Vim ends: say goodbye without waiting; the end of its input ends it, too. One that is not ready yet is just ended.
export def Leave()
  if !ready && job != null_job
    job_stop(job)
  elseif job != null_job && job_status(job) ==# 'run'
    Send('shutdown', {}, (_, _) => 0)
    Tell('exit', {})
  endif
enddef
