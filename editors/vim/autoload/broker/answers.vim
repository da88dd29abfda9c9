vim9script
# What broker asks of Vim; each request is answered once, by `Reply({result})` or `Reply({error})`.

import autoload './documents.vim'
import autoload './ui.vim'

export def Answer(method: string, params: any, Reply: func)
  if method ==# 'window/showMessageRequest'
    const actions = get(params, 'actions', null_list)
    ui.Choose(params.message, mapnew(actions, (_, each) => each.title),
      (i) => Reply({result: i >= 0 ? actions[i] : null}))
  elseif method ==# 'broker/pick'
    Pick(params, Reply)
  elseif method ==# 'broker/input'
    ui.Input(params, (text) => Reply({result: text == null ? null : {value: text}}))
  else
    try
      Reply(At(method, params))
    catch
      Reply({error: {code: -32603, message: v:exception}})
    endtry
  endif
enddef

# The answers nobody has to be asked for.
def At(method: string, params: any): dict<any>
  if method ==# 'window/showDocument'
    return {result: {success: documents.Show(params)}}
  elseif method ==# 'workspace/applyEdit'
    return {result: documents.Apply(params.edit)}
  elseif method ==# 'workspace/configuration'
    return {result: mapnew(params.items, (_, each) => Setting(get(each, 'section', '')))}
  elseif method ==# 'broker/active'
    return {result: documents.Active()}
  elseif method =~# '^client/\(un\)\?registerCapability$' || method ==# 'window/workDoneProgress/create'
    return {result: null}
  endif
  return {error: {code: -32601, message: 'Vim has no ' .. method}}
enddef

def Setting(section: string): any
  var found: any = get(g:, 'broker_settings', {broker: {}})
  for name in split(section, '\.')
    if type(found) != v:t_dict || !has_key(found, name)
      return null
    endif
    found = found[name]
  endfor
  return found
enddef

def Pick(params: dict<any>, Reply: func)
  const prompt = params.plugin .. ': ' .. params.title
  const lines = mapnew(params.items, (_, each) => each.label .. (empty(get(each, 'description', '')) ? '' : '  ' .. each.description))
  if get(params, 'many', false)
    PickMany(prompt, lines, [], Reply)
  else
    ui.Choose(prompt, lines, (i) => Reply({result: i >= 0 ? {indexes: [i]} : null}))
  endif
enddef

# Each choice turns a line on or off, until the first line ends it.
def PickMany(prompt: string, lines: list<string>, on: list<number>, Reply: func)
  const menu = ['Done: ' .. len(on) .. ' chosen'] + mapnew(lines, (i, line) => (index(on, i) >= 0 ? '[x] ' : '[ ] ') .. line)
  ui.Choose(prompt, menu, (chosen) => {
    const place = index(on, chosen - 1)
    if chosen < 0
      Reply({result: null})
    elseif chosen == 0
      Reply({result: {indexes: sort(copy(on))}})
    elseif place >= 0
      PickMany(prompt, lines, filter(copy(on), (i, _) => i != place), Reply)
    else
      PickMany(prompt, lines, on + [chosen - 1], Reply)
    endif
  })
enddef
