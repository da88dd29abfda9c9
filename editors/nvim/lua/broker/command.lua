--- `:Broker`: its words and their completion.

local M = {}

local own = { 'call', 'cancel', 'fix', 'log', 'restart', 'start', 'status', 'stop' }

local function broker()
  return require('broker')
end

local function names()
  return vim.tbl_map(function(each)
    return each.name
  end, broker().commands())
end

--- Choose one of the commands of all plugins, and run it.
function M.choose()
  local function offer()
    vim.ui.select(broker().commands(), {
      prompt = 'broker',
      kind = 'broker',
      format_item = function(each)
        local title = each.title ~= '' and each.title or each.name
        return title == each.name and title or ('%s (%s)'):format(title, each.name)
      end,
    }, function(each)
      if each then
        broker().run(each.name)
      end
    end)
  end
  if #broker().commands() > 0 then
    return offer()
  end
  if broker().start() then
    require('broker.client').request('broker/list', vim.empty_dict(), function(err)
      if not err and #broker().commands() > 0 then
        vim.schedule(offer)
      else
        require('broker.ui').notify('your plugins have no commands')
      end
    end)
  end
end

local function show_status()
  local state = require('broker.client').state
  if not state.ready then
    return require('broker.ui').notify('broker does not run')
  end
  local lines = { 'broker serves ' .. state.root }
  for _, each in ipairs((state.status or {}).plugins or {}) do
    table.insert(lines, ('  %s: %s'):format(each.name, each.state))
  end
  for _, each in ipairs(state.progress) do
    table.insert(lines, ('  now: %s %s'):format(each.title, each.message or ''))
  end
  require('broker.ui').result(table.concat(lines, '\n'))
end

local actions = {
  start = function()
    broker().start()
  end,
  stop = function()
    broker().stop()
  end,
  restart = function()
    broker().restart()
  end,
  cancel = function()
    broker().cancel()
  end,
  fix = function()
    if broker().start() then
      require('broker.fix').choose()
    end
  end,
  status = show_status,
  log = function()
    vim.cmd('tabnew ' .. vim.fn.fnameescape(vim.lsp.get_log_path()))
  end,
}

function actions.call(words)
  local tool = table.remove(words, 1)
  local arguments, problem = require('broker.words').arguments(words)
  if not tool or problem then
    return require('broker.ui').notify(problem or ':Broker call TOOL key=value …', vim.log.levels.ERROR)
  end
  broker().call(tool, arguments)
end

--- Do what stands after `:Broker`, for these lines of the document in front if any are given.
---@param text string
---@param lines integer[]?
function M.perform(text, lines)
  require('broker.documents').lines = lines
  local found = require('broker.words')
  local words = found.split(text)
  local first = table.remove(words, 1)
  if not first then
    return M.choose()
  elseif actions[first] then
    return actions[first](words)
  end
  broker().run(first, vim.tbl_map(found.value, words))
end

local function beginning(lead, all)
  return vim.tbl_filter(function(each)
    return vim.startswith(each, lead)
  end, all)
end

--- What the word at the cursor may become.
---@param lead string
---@param line string
---@param column integer
---@return string[]
function M.complete(lead, line, column)
  local before = line:sub(1, column):gsub('^.-Broker!?%s*', '')
  local words = require('broker.words').split(before)
  local position = #words + (lead == '' and 1 or 0)
  if position <= 1 then
    local all = vim.list_extend(names(), own)
    table.sort(all)
    return beginning(lead, all)
  elseif words[1] ~= 'call' then
    return {}
  end
  return M.complete_tool(lead, words[2], position)
end

function M.complete_tool(lead, name, position)
  local tools = require('broker.client').state.tools
  if position == 2 then
    return beginning(lead, vim.tbl_map(function(each)
      return each.name
    end, tools))
  end
  for _, each in ipairs(tools) do
    if each.name == name then
      local keys = vim.tbl_keys((each.inputSchema or {}).properties or {})
      table.sort(keys)
      return beginning(lead, vim.tbl_map(function(key)
        return key .. '='
      end, keys))
    end
  end
  return {}
end

return M
