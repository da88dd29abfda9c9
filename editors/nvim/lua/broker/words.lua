--- The words after `:Broker`, as JSON values.
---
--- `greet Anna 3 "3" {"deep": [1, 2]} key=value`: a word that is JSON is that value, any other is text. Quotes and
--- brackets hold a word together.

local M = {}

local closing = { ['{'] = '}', ['['] = ']' }

--- Where the word ends that begins at `first`: after its last character.
local function word_end(text, first)
  local depth, quoted, i = 0, false, first
  while i <= #text do
    local letter = text:sub(i, i)
    if quoted then
      if letter == '\\' then
        i = i + 1
      elseif letter == '"' then
        quoted = false
      end
    elseif letter == '"' then
      quoted = true
    elseif closing[letter] then
      depth = depth + 1
    elseif letter == '}' or letter == ']' then
      depth = depth - 1
    elseif depth <= 0 and letter:match('%s') then
      break
    end
    i = i + 1
  end
  return i
end

---@param text string
---@return string[]
function M.split(text)
  local words, first = {}, text:find('%S')
  while first do
    local after = word_end(text, first)
    words[#words + 1] = text:sub(first, after - 1)
    first = text:find('%S', after)
  end
  return words
end

-- The decoder takes more for numbers than JSON has, such as `inf` and `0x10`, which are words here.
local function is_json(word)
  return word:match('^[{%["]') or word:match('^-?%d+%.?%d*[eE]?[+-]?%d*$') or word == 'true' or word == 'false' or word == 'null'
end

--- A word as a value.
---@param word string
function M.value(word)
  if is_json(word) then
    local ok, found = pcall(vim.json.decode, word)
    if ok then
      return found
    end
  end
  return word
end

--- The arguments of a tool: `key=value` words, or one JSON object.
---@param words string[]
---@return table? arguments
---@return string? problem
function M.arguments(words)
  if #words == 1 and words[1]:sub(1, 1) == '{' then
    local found = M.value(words[1])
    if type(found) ~= 'table' then
      return nil, words[1] .. ' is not JSON'
    end
    return next(found) and found or vim.empty_dict()
  end
  local found = vim.empty_dict()
  for _, word in ipairs(words) do
    local key, value = word:match('^([^=]+)=(.*)$')
    if not key then
      return nil, ('%q is not of the form key=value'):format(word)
    end
    found[key] = M.value(value)
  end
  return found
end

return M
