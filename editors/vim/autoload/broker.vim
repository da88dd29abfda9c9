vim9script
# broker in Vim: `:Broker`, its completion and the words of a statusline.

import autoload './broker/session.vim' as session
import autoload './broker/ui.vim'
import autoload './broker/words.vim'

const OWN = ['call', 'cancel', 'diagnostics', 'messages', 'restart', 'start', 'status', 'stop']

# Start it if it does not run; whether it does now.
export def Start(): bool
  const problem = session.Start()
  if !empty(problem)
    ui.Toast(problem, 1)
  endif
  return empty(problem)
enddef

export def Stop()
  session.Stop()
enddef

export def Restart()
  session.Stop(Start)
enddef

# Run a plugin's command, as 'todos.refresh'. Without `Answer(error, result)` the result is shown.
export def Run(name: string, arguments: list<any> = [], Answer: func = null_function)
  Execute(name, 'broker.run', [name] + arguments, Answer)
enddef

# Call a tool by the name AI clients have for it, as 'todos__count'.
export def Call(tool: string, arguments: dict<any> = {}, Answer: func = null_function)
  Execute(tool, 'broker.call', [tool, arguments], Answer)
enddef

def Execute(what: string, command: string, arguments: list<any>, Answer: func)
  if !Start()
    return
  endif
  session.Request('workspace/executeCommand', {command: command, arguments: arguments}, (error, result) => {
    if Answer != null_function
      Answer(error, result)
    elseif error != null_dict && !empty(error)
      ui.Toast(what .. ': ' .. get(error, 'message', 'failed'), get(error, 'cancelled', false) ? 3 : 1)
    else
      ui.Result(result)
    endif
  })
enddef

# A few words for a statusline: set statusline+=%{broker#Statusline()}
export def Statusline(): string
  if !session.ready
    return ''
  endif
  var line = ['broker']
  if get(session.status, 'state', '') ==# 'failing'
    line = ['broker !']
  endif
  if !empty(get(session.status, 'text', ''))
    add(line, session.status.text)
  endif
  for each in values(session.progress)
    add(line, each.title .. (has_key(each, 'percentage') ? ' ' .. float2nr(each.percentage) .. '%' : ''))
  endfor
  return join(line)
enddef

def Choose()
  const all = session.commands
  if empty(all)
    ui.Toast('your plugins have no commands', 3)
    return
  endif
  ui.Choose('broker', mapnew(all, (_, each) => each.title ==# each.name ? each.name : each.title .. ' (' .. each.name .. ')'),
    (i) => i >= 0 ? Run(all[i].name) : 0)
enddef

def ShowStatus()
  if !session.ready
    ui.Toast('broker does not run', 3)
    return
  endif
  ui.Result(join(['broker serves ' .. session.root]
    + mapnew(get(session.status, 'plugins', []), (_, each) => '  ' .. each.name .. ': ' .. each.state), "\n"))
enddef

# Do what stands after `:Broker`.
export def Perform(text: string)
  const all = words.Split(text)
  if empty(all)
    if Start()
      session.WhenReady((problem) => empty(problem) ? Choose() : 0)
    endif
  elseif all[0] ==# 'call'
    const [arguments, problem] = words.Arguments(all[2 :])
    if len(all) < 2 || !empty(problem)
      ui.Toast(empty(problem) ? ':Broker call TOOL key=value …' : problem, 1)
    else
      Call(all[1], arguments)
    endif
  elseif index(OWN, all[0]) >= 0
    const actions = {cancel: session.Cancel, diagnostics: ui.ListDiagnostics, messages: ui.ListMessages, restart: Restart,
      start: Start, status: ShowStatus, stop: Stop}
    call(actions[all[0]], [])
  else
    Run(all[0], mapnew(all[1 :], (_, word) => words.Value(word)))
  endif
enddef

# What the word at the cursor may become.
export def Complete(lead: string, line: string, position: number): list<string>
  const before = words.Split(substitute(line[: position - 1], '^.\{-}Broker\s*', '', ''))
  const place = len(before) + (empty(lead) ? 1 : 0)
  var found: list<string> = []
  if place <= 1
    found = sort(mapnew(session.commands, (_, each) => each.name) + OWN)
  elseif before[0] ==# 'call' && place == 2
    found = mapnew(session.tools, (_, each) => each.name)
  endif
  return filter(found, (_, each) => stridx(each, lead) == 0)
enddef
