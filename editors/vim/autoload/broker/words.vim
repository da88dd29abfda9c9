vim9script
# The words after `:Broker`, as JSON values: a word that is JSON is that value, any other is text. Quotes and brackets
# hold a word together.

# Where the word ends that begins at byte `first`: after its last byte.
def WordEnd(text: string, first: number): number
  var depth = 0
  var quoted = false
  var i = first
  while i < len(text)
    const letter = strpart(text, i, 1)
    if quoted
      if letter ==# '\'
        i += 1
      elseif letter ==# '"'
        quoted = false
      endif
    elseif letter ==# '"'
      quoted = true
    elseif letter ==# '{' || letter ==# '['
      depth += 1
    elseif letter ==# '}' || letter ==# ']'
      depth -= 1
    elseif depth <= 0 && letter =~# '\s'
      break
    endif
    i += 1
  endwhile
  return i
enddef

export def Split(text: string): list<string>
  var words: list<string> = []
  var first = match(text, '\S')
  while first >= 0
    const after = WordEnd(text, first)
    add(words, strpart(text, first, after - first))
    first = match(text, '\S', after)
  endwhile
  return words
enddef

# A word as a value.
export def Value(word: string): any
  if word =~# '^\(true\|false\|null\|[\["{].*\|-\?\d\+\(\.\d\+\)\?\([eE][-+]\?\d\+\)\?\)$'
    try
      return json_decode(word)
    catch /^Vim\%((\a\+)\)\=:E/
      return word
    endtry
  endif
  return word
enddef

# The arguments of a tool, from `key=value` words or one JSON object; and what is wrong with them, or nothing.
export def Arguments(words: list<string>): list<any>
  if len(words) == 1 && words[0] =~# '^{'
    const found = Value(words[0])
    return type(found) == v:t_dict ? [found, ''] : [{}, words[0] .. ' is not JSON']
  endif
  var found: dict<any> = {}
  for word in words
    const parts = matchlist(word, '^\([^=]\+\)=\(.*\)$')
    if empty(parts)
      return [{}, string(word) .. ' is not of the form key=value']
    endif
    found[parts[1]] = Value(parts[2])
  endfor
  return [found, '']
enddef
