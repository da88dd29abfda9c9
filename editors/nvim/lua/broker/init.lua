--- broker in Neovim: every plugin of yours has its commands, messages and questions here. See `:help broker`.

local M = {}

local function client()
  return require('broker.client')
end

local function ui()
  return require('broker.ui')
end

--- Set options (see `broker.config` for all of them and what they are without it), and start.
---@param options table?
function M.setup(options)
  local config = require('broker.config')
  config.set(options)
  if not config.options.autostart then
    return
  end
  if vim.v.vim_did_enter == 1 then
    vim.schedule(M.start)
  else
    vim.api.nvim_create_autocmd('VimEnter', { once = true, callback = vim.schedule_wrap(M.start) })
  end
end

--- Start it if it does not run.
---@return boolean started
function M.start()
  local problem = client().start()
  if problem then
    ui().notify(problem, vim.log.levels.ERROR)
  end
  return problem == nil
end

--- End it, with all plugins it started; `done` is called then.
---@param done fun()?
function M.stop(done)
  client().stop(done)
end

function M.restart()
  client().stop(M.start)
end

local running = {} ---@type table<fun(), string>

local function execute(what, command, arguments, answer)
  if not M.start() then
    return function() end
  end
  local cancel, over
  cancel = client().request('workspace/executeCommand', { command = command, arguments = arguments }, function(err, result)
    over = true
    require('broker.documents').lines = nil
    if cancel then
      running[cancel] = nil
    end
    if answer then
      answer(err, result)
    elseif err then
      ui().notify(('%s: %s'):format(what, err.message or 'failed'), vim.log.levels[err.cancelled and 'INFO' or 'ERROR'])
    else
      ui().result(result)
    end
  end)
  if not over then
    running[cancel] = what
  end
  return cancel
end

--- Run a plugin's command: `run('todos.refresh', { 'src' })`. Without `answer(err, result)` the result is shown.
---@param name string
---@param arguments any[]?
---@param answer fun(err: table?, result: any)?
---@return fun() cancel
function M.run(name, arguments, answer)
  return execute(name, 'broker.run', { name, unpack(arguments or {}) }, answer)
end

--- Call a tool by the name AI clients have for it: `call('todos__count', { folder = 'src' })`.
---@param tool string
---@param arguments table?
---@param answer fun(err: table?, result: any)?
---@return fun() cancel
function M.call(tool, arguments, answer)
  local given = arguments and next(arguments) and arguments or vim.empty_dict()
  return execute(tool, 'broker.call', { tool, given }, answer)
end

--- Take back every command that runs, and what plugins do in the background.
function M.cancel()
  for _, cancel in ipairs(vim.tbl_keys(running)) do
    cancel()
  end
  client().cancel_progress()
end

--- The commands of your plugins: { plugin, name, title, description } each.
---@return table[]
function M.commands()
  return client().state.commands
end

--- What the broker said of itself and its plugins last, or nil.
---@return table?
function M.status()
  return client().state.status
end

--- A few words for a statusline; lualine takes the function as a component.
---@return string
function M.statusline()
  local icons, state = require('broker.config').options.icons, client().state
  if not state.ready then
    return icons.off
  end
  local status = state.status or {}
  local words = { icons[status.state] or icons.ready }
  if status.text and status.text ~= '' then
    table.insert(words, status.text)
  end
  local newest = state.progress[#state.progress]
  if newest then
    words[1] = icons.working
    table.insert(words, newest.title .. (newest.percentage and (' ' .. newest.percentage .. '%') or ''))
  end
  return (table.concat(words, ' '):gsub('[\r\n]+', ' '):gsub('%%', '%%%%'))
end

return M
