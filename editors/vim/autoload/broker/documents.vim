vim9script
# Files: their URIs, what is open, and changes to them. Positions of broker count UTF-16 units, those of Vim bytes.
#
# Rule 1: broker is told of documents only if it asks for them when it starts, and it does only if you let a plugin see or
#         change them.
# Rule 2: only files count, no terminals, help pages and lists. A changed one is sent whole, when typing pauses.

import autoload './session.vim' as session

const PAUSE = 200 # milliseconds

var sent: dict<number> = {} # of each open document the `changedtick` that broker knows
var pausing = 0

# Bytes are handled as characters of Latin-1 here: a URI counts bytes.
export def Uri(path: string): string
  const bytes = iconv(path, 'latin1', 'utf-8')
  return 'file://' .. substitute(bytes, '[^A-Za-z0-9/._~-]', (found) => printf('%%%02X', char2nr(found[0])), 'g')
enddef

export def Path(uri: string): string
  const path = substitute(uri, '^file://\(localhost\)\?', '', '')
  const bytes = substitute(path, '%\(\x\x\)', (found) => nr2char(str2nr(found[1], 16)), 'g')
  return iconv(bytes, 'utf-8', 'latin1')
enddef

# How many bytes of a line come before its UTF-16 unit number `unit`.
def Bytes(line: string, unit: number): number
  var units = 0
  var bytes = 0
  for letter in line
    if units >= unit
      break
    endif
    units += char2nr(letter) > 0xFFFF ? 2 : 1
    bytes += len(letter)
  endfor
  return bytes
enddef

# How many UTF-16 units the first bytes of a line are.
def Units(line: string, bytes: number): number
  var units = 0
  for letter in strpart(line, 0, bytes)
    units += char2nr(letter) > 0xFFFF ? 2 : 1
  endfor
  return units
enddef

# The URI of a buffer that is a file, or nothing.
def UriOf(buffer: number): string
  const name = bufname(buffer)
  return empty(name) || !empty(getbufvar(buffer, '&buftype')) || name =~# '^\a[A-Za-z+.-]\+://'
    ? '' : Uri(fnamemodify(name, ':p'))
enddef

def Text(buffer: number): string
  return join(getbufline(buffer, 1, '$'), "\n") .. (getbufvar(buffer, '&endofline') ? "\n" : '')
enddef

def Wanted(sync: any): bool
  return type(sync) == v:t_dict ? get(sync, 'openClose', false) : type(sync) == v:t_number && sync > 0
enddef

# Tell what happens to documents from now on, if broker wants to know it, and what is open already.
export def Watch(sync: any)
  if !Wanted(sync)
    return
  endif
  augroup broker
    autocmd!
    autocmd BufReadPost,BufNewFile,BufFilePost * Opened(str2nr(expand('<abuf>')))
    autocmd TextChanged,TextChangedI,TextChangedP * ChangedSoon()
    autocmd BufWritePost * Saved(str2nr(expand('<abuf>')))
    autocmd BufUnload * Closed(str2nr(expand('<abuf>')))
  augroup END
  for each in getbufinfo({bufloaded: 1})
    Opened(each.bufnr)
  endfor
enddef

export def Unwatch()
  augroup broker
    autocmd!
  augroup END
  sent = {}
enddef

def Opened(buffer: number)
  const uri = UriOf(buffer)
  if !empty(uri) && !has_key(sent, string(buffer))
    sent[string(buffer)] = getbufvar(buffer, 'changedtick')
    session.Tell('textDocument/didOpen', {textDocument: {uri: uri, languageId: getbufvar(buffer, '&filetype'),
      version: sent[string(buffer)], text: Text(buffer)}})
  endif
enddef

def ChangedSoon()
  timer_stop(pausing)
  pausing = timer_start(PAUSE, (_) => Changed())
enddef

# Tell of all changes that were not told yet.
export def Changed()
  for buffer in mapnew(keys(sent), (_, each) => str2nr(each))
    const tick = getbufvar(buffer, 'changedtick', 0)
    if sent[string(buffer)] != tick
      sent[string(buffer)] = tick
      session.Tell('textDocument/didChange', {textDocument: {uri: UriOf(buffer), version: tick},
        contentChanges: [{text: Text(buffer)}]})
    endif
  endfor
enddef

def Saved(buffer: number)
  if has_key(sent, string(buffer))
    Changed()
    session.Tell('textDocument/didSave', {textDocument: {uri: UriOf(buffer)}})
  endif
enddef

def Closed(buffer: number)
  if has_key(sent, string(buffer))
    remove(sent, string(buffer))
    session.Tell('textDocument/didClose', {textDocument: {uri: UriOf(buffer)}})
  endif
enddef

# Where the cursor is in the file in front, or null.
export def Active(): any
  const uri = UriOf(bufnr())
  if empty(uri)
    return null
  endif
  const here = {line: line('.') - 1, character: Units(getline('.'), col('.') - 1)}
  return {uri: uri, range: {start: here, end: here}, languageId: &filetype}
enddef

# Open a file here or a page in the browser; whether it was.
export def Show(params: dict<any>): bool
  if get(params, 'external', false) || params.uri !~# '^file:'
    const program = get(g:, 'broker_browser', has('mac') ? 'open' : 'xdg-open')
    if !executable(program)
      return false
    endif
    job_start([program, params.uri], {in_io: 'null', out_io: 'null', err_io: 'null'})
    return true
  endif
  execute 'drop' fnameescape(Path(params.uri))
  if has_key(params, 'selection')
    const start = params.selection.start
    cursor(start.line + 1, Bytes(getline(start.line + 1), start.character) + 1)
  endif
  redraw
  return true
enddef

# Apply a WorkspaceEdit; whether it was, as LSP has it.
export def Apply(edit: dict<any>): dict<any>
  if !has_key(edit, 'changes')
    return {applied: false, failureReason: 'Vim takes only changes of text'}
  endif
  for [uri, edits] in items(edit.changes)
    const buffer = bufadd(Path(uri))
    bufload(buffer)
    setbufvar(buffer, '&buflisted', 1)
    Change(buffer, edits)
  endfor
  Changed()
  redraw
  return {applied: true}
enddef

# The last one first: then the places of the others still hold. Those at the same place stay in their order.
def Change(buffer: number, edits: list<dict<any>>)
  const numbered = mapnew(edits, (i, each) => [each.range.start.line, each.range.start.character, i])
  for [_, _, i] in sort(copy(numbered), Later)
    Replace(buffer, edits[i].range, edits[i].newText)
  endfor
enddef

def Later(one: list<number>, other: list<number>): number
  for i in range(3)
    if one[i] != other[i]
      return one[i] > other[i] ? -1 : 1
    endif
  endfor
  return 0
enddef

def Replace(buffer: number, range: dict<any>, text: string)
  const all = getbufline(buffer, 1, '$')
  const first = min([range.start.line, len(all)])
  const last = min([range.end.line, len(all)])
  const head = get(all, first, '')
  const tail = get(all, last, '')
  const before = strpart(head, 0, Bytes(head, range.start.character))
  var lines = split(before .. text .. strpart(tail, Bytes(tail, range.end.character)), '\r\?\n', true)
  if last >= len(all) && lines[-1] ==# ''
    remove(lines, -1) # the end of the last line is no line of its own
  endif
  deletebufline(buffer, first + 1, min([last + 1, len(all)]))
  appendbufline(buffer, first, lines)
  # A buffer whose lines were all deleted keeps an empty one.
  if first == 0 && last + 1 >= len(all) && getbufline(buffer, '$') == [''] && !empty(lines)
    deletebufline(buffer, len(lines) + 1)
  endif
enddef
