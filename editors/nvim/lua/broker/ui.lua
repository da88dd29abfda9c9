--- What a plugin wants from the person: shown, asked, chosen.
---
--- Rule 1: a handler that asks runs in a coroutine (Neovim 0.8 and newer) and never blocks the editor. Before, it
---         blocks, as Neovim's own handlers do there.
--- Rule 2: what is dismissed answers null, and the broker takes that as no.

local config = require('broker.config')

local M = {}

-- By the numbers of LSP's MessageType; what it has beyond is a log line.
local levels = { vim.log.levels.ERROR, vim.log.levels.WARN, vim.log.levels.INFO, vim.log.levels.DEBUG }

---@param text string
---@param level integer? of `vim.log.levels`
function M.notify(text, level)
  level = level or vim.log.levels.INFO
  if config.options.notify then
    return config.options.notify(text, level)
  end
  vim.notify(text, level, { title = 'broker' })
end

local function scratch(lines)
  vim.cmd('botright ' .. math.min(#lines, 15) .. 'new')
  vim.bo.buftype, vim.bo.bufhidden, vim.bo.swapfile = 'nofile', 'wipe', false
  vim.api.nvim_buf_set_lines(0, 0, -1, false, lines)
  vim.bo.modifiable = false
end

--- The text of a tool's result as MCP has it, or nil if it is no such thing.
local function content(result)
  if type(result) ~= 'table' or type(result.content) ~= 'table' then
    return nil
  end
  local texts = {}
  for _, each in ipairs(result.content) do
    texts[#texts + 1] = type(each) == 'table' and each.text or ('[' .. tostring(each.type) .. ']')
  end
  return table.concat(texts, '\n')
end

--- Show what a command or a tool returned.
---@param result any
function M.result(result)
  if result == nil or result == vim.NIL then
    return
  end
  local text = type(result) == 'string' and result or content(result) or vim.json.encode(result)
  local lines = vim.split(text, '\n', { plain = true })
  if #lines == 1 then
    local failed = type(result) == 'table' and result.isError == true
    M.notify(text, failed and vim.log.levels.ERROR or vim.log.levels.INFO)
  else
    local show = config.options.show or scratch
    show(lines)
  end
end

--- Wait for `begin(answer)` to call `answer` with a value; nil if this is no coroutine that could wait.
local function awaited(begin)
  local waiting, main = coroutine.running()
  if not waiting or main then
    return nil
  end
  begin(function(value)
    vim.schedule(function() -- not before the yield below, however quick the answer is
      coroutine.resume(waiting, value == nil and vim.NIL or value)
    end)
  end)
  return coroutine.yield()
end

local function one_line(text)
  return (tostring(text):gsub('[\r\n]+', ' '))
end

--- The number of the line that is chosen, or null.
local function chosen(prompt, lines)
  local answer = awaited(function(answer)
    local numbers = {}
    for i = 1, #lines do
      numbers[i] = i
    end
    vim.ui.select(numbers, {
      prompt = one_line(prompt),
      kind = 'broker',
      format_item = function(i)
        return lines[i]
      end,
    }, answer)
  end)
  if answer ~= nil then
    return answer
  end
  local menu = { one_line(prompt) }
  for i, line in ipairs(lines) do
    menu[i + 1] = i .. '. ' .. line
  end
  local number = vim.fn.inputlist(menu)
  return lines[number] and number or vim.NIL
end

local handlers = {}

handlers['window/showMessage'] = function(_, params)
  M.notify(params.message, levels[params.type] or vim.log.levels.INFO)
end

handlers['window/showMessageRequest'] = function(_, params)
  local actions = params.actions or {}
  local titles = vim.tbl_map(function(action)
    return one_line(action.title)
  end, actions)
  local number = chosen(params.message, titles)
  return actions[number] or vim.NIL
end

local function labels(items)
  return vim.tbl_map(function(item)
    local more = item.description and item.description ~= '' and ('  ' .. item.description) or ''
    return one_line(item.label .. more)
  end, items)
end

--- Which of several lines; each choice turns one on or off, until the first line ends it.
local function chosen_many(prompt, lines)
  local on = {}
  while true do
    local indexes, menu = {}, {}
    for i, line in ipairs(lines) do
      menu[i + 1] = (on[i] and '[x] ' or '[ ] ') .. line
      if on[i] then
        table.insert(indexes, i - 1)
      end
    end
    menu[1] = ('Done: %d chosen'):format(#indexes)
    local number = chosen(prompt, menu)
    if number == vim.NIL then
      return vim.NIL
    elseif number == 1 then
      return { indexes = indexes }
    end
    on[number - 1] = not on[number - 1]
  end
end

handlers['broker/pick'] = function(_, params)
  local prompt, lines = ('%s: %s'):format(params.plugin, params.title), labels(params.items)
  if params.many then
    return chosen_many(prompt, lines)
  end
  local number = chosen(prompt, lines)
  return number == vim.NIL and vim.NIL or { indexes = { number - 1 } }
end

local function typed(prompt, value)
  local answer = awaited(function(answer)
    vim.ui.input({ prompt = prompt, default = value }, answer)
  end)
  return answer == nil and vim.fn.input(prompt, value) or answer
end

handlers['broker/input'] = function(_, params)
  local hint = params.placeholder ~= '' and params.placeholder and (' (' .. params.placeholder .. ')') or ''
  local prompt = one_line(('%s: %s%s '):format(params.plugin, params.title, hint))
  if params.secret then -- `vim.ui.input` would show it
    local secret = vim.fn.inputsecret(prompt)
    return secret == '' and vim.NIL or { value = secret }
  end
  local answer = typed(prompt, params.value or '')
  return answer == vim.NIL and vim.NIL or { value = answer }
end

M.handlers = handlers

return M
