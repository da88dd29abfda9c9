vim9script
# What a plugin wants from the person: shown, asked, chosen. Nothing here blocks Vim but the typing of a text.

const KINDS = ['', 'ErrorMsg', 'WarningMsg', 'Normal', 'Normal']
const KEPT = 200

import autoload './documents.vim'

var said: list<string> = []
var diagnosed: dict<list<dict<any>>> = {} # by file

# Show a message; `kind` is LSP's: 1 error, 2 warning, 3 info.
export def Toast(text: string, kind: number)
  said = (said + [strftime('%H:%M:%S ') .. text])[-KEPT :]
  popup_notification(split(text, "\n"), {title: ' broker ', time: 8000, highlight: get(KINDS, kind, 'Normal'),
    maxwidth: max([20, &columns - 10])})
enddef

export def ListMessages()
  Result(empty(said) ? 'nothing was said yet' : join(said, "\n") .. "\n")
enddef

# The number of the chosen line from 0, or -1, goes to `Answer`.
export def Choose(prompt: string, lines: list<string>, Answer: func)
  popup_menu(mapnew(lines, (_, line) => substitute(line, '[\r\n]\+', ' ', 'g')), {
    title: ' ' .. substitute(prompt, '[\r\n]\+', ' ', 'g') .. ' ',
    maxheight: max([5, &lines - 6]),
    callback: (_, chosen) => Answer(chosen < 1 ? -1 : chosen - 1),
  })
  redraw
enddef

# A text goes to `Answer`, or null if it was dismissed or nothing was typed, which Vim does not tell apart.
export def Input(params: dict<any>, Answer: func)
  const hint = empty(get(params, 'placeholder', '')) ? '' : ' (' .. params.placeholder .. ')'
  const prompt = params.plugin .. ': ' .. params.title .. hint .. ' '
  # Later: in the callback of a channel nothing else is heard meanwhile.
  timer_start(0, (_) => {
    var text = ''
    try
      text = get(params, 'secret', false) ? inputsecret(prompt) : input(prompt, get(params, 'value', ''))
    catch /^Vim:Interrupt$/
    endtry
    redraw
    Answer(empty(text) ? null : text)
  })
enddef

# The text of a tool's result as MCP has it, or nothing.
def Content(result: any): string
  if type(result) != v:t_dict || type(get(result, 'content', 0)) != v:t_list
    return ''
  endif
  return join(mapnew(result.content, (_, each) => get(each, 'text', '[' .. get(each, 'type', '') .. ']')), "\n")
enddef

# Show what a command or a tool returned: a line as a message, several in a window below.
export def Result(result: any)
  if result == null
    return
  endif
  var text = type(result) == v:t_string ? result : Content(result)
  if empty(text)
    text = json_encode(result)
  endif
  const lines = split(text, "\n", true)
  if len(lines) == 1
    Toast(text, type(result) == v:t_dict && get(result, 'isError', false) ? 1 : 3)
    return
  endif
  execute 'botright :' .. min([len(lines), 15]) .. 'new'
  setlocal buftype=nofile bufhidden=wipe noswapfile
  setline(1, lines)
  setlocal nomodifiable
enddef

# What plugins found wrong in a file; shown by `:Broker diagnostics`.
export def Diagnosed(params: dict<any>)
  diagnosed[params.uri] = params.diagnostics
enddef

export def ListDiagnostics()
  var entries: list<dict<any>> = []
  for [uri, all] in items(diagnosed)
    const path = documents.Path(uri)
    for each in all
      add(entries, {filename: path, lnum: each.range.start.line + 1, col: each.range.start.character + 1, text: each.message,
        type: ' EWIN'[get(each, 'severity', 1)]})
    endfor
  endfor
  setqflist([], ' ', {title: 'broker', items: entries})
  if empty(entries)
    Toast('your plugins found nothing', 3)
  else
    copen
  endif
enddef
