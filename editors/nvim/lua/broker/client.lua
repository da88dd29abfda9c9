--- The one `broker lsp` of this Neovim: started, asked, stopped.
---
--- Rule 1: it is a client without buffers (see `broker.documents`), and nobody's language server is touched.
--- Rule 2: what is asked before it is ready waits; what it owes when it ends fails, each exactly once.

local config = require('broker.config')
local documents = require('broker.documents')
local ui = require('broker.ui')

local M = {}

---@class broker.State
local state = {
  id = nil, ---@type integer? of the client
  ready = false,
  stopping = false,
  root = nil, ---@type string?
  status = nil, ---@type table? what `broker/status` said last
  commands = {}, ---@type table[] what `broker/commands` said last
  tools = {}, ---@type table[] of `broker/list`
  progress = {}, ---@type table[] what runs, the newest last: {token, title, message, percentage}
  waiting = {}, ---@type function[] called when it is ready, or with an error
  owed = {}, ---@type table<table, function> what was asked and not answered yet
}
M.state = state

local new_calls = vim.fn.has('nvim-0.11') == 1 -- methods of a client are called with `:` since then

local function client()
  return state.id and vim.lsp.get_client_by_id(state.id) or nil
end

--- Call a method of the client, however this version has it.
local function on_client(method, ...)
  local found = client()
  if not found then
    return nil
  end
  if new_calls then
    return found[method](found, ...)
  end
  return found[method](...)
end

--- The workspace: the nearest folder above the working directory with one of the markers, or that itself.
---@return string
function M.root()
  local here = vim.fn.getcwd()
  for _, marker in ipairs(config.options.root_markers) do
    local found = vim.fn.finddir(marker, here .. ';')
    if found == '' then
      found = vim.fn.findfile(marker, here .. ';')
    end
    if found ~= '' then
      local whole = vim.fn.fnamemodify(found, ':p'):gsub('/+$', '')
      return vim.fn.fnamemodify(whole, ':h')
    end
  end
  return here
end

local function told(pattern)
  vim.cmd('redrawstatus!')
  if vim.api.nvim_exec_autocmds then -- 0.8
    vim.api.nvim_exec_autocmds('User', { pattern = pattern, modeline = false })
  end
end

local handlers = vim.tbl_extend('error', {}, ui.handlers, documents.handlers)

handlers['broker/status'] = function(_, params)
  state.status = params
  told('BrokerStatus')
end

handlers['broker/commands'] = function(_, params)
  state.commands = params.commands
  M.request('broker/list', vim.empty_dict(), function(_, found)
    state.tools = type(found) == 'table' and found.tools or state.tools
  end)
  told('BrokerCommands')
end

local function progressed(token, value)
  for i, each in ipairs(state.progress) do
    if each.token == token then
      if value.kind == 'end' then
        return table.remove(state.progress, i)
      end
      each.message, each.percentage = value.message or each.message, value.percentage or each.percentage
      return each
    end
  end
  if value.kind == 'begin' then
    local new = { token = token, title = value.title, message = value.message, percentage = value.percentage }
    table.insert(state.progress, new)
  end
end

handlers['$/progress'] = function(err, params, ...)
  progressed(params.token, params.value)
  told('BrokerProgress')
  local default = vim.lsp.handlers['$/progress'] -- tells LspProgress and what listens to it
  return default and default(err, params, ...)
end

--- It is ready, or it ended: what waits goes on, and in the second case what it owes fails.
local function settle(problem)
  local waiting = state.waiting
  state.waiting = {}
  for _, go in ipairs(waiting) do
    go(problem)
  end
  if problem then
    for _, answer in ipairs(vim.tbl_values(state.owed)) do
      answer({ message = problem })
    end
  end
end

local function ended(id, code, signal)
  if state.id ~= id then
    return
  end
  local wanted = state.stopping
  state.id, state.ready, state.stopping, state.status = nil, false, false, nil
  state.commands, state.tools, state.progress = {}, {}, {}
  documents.unwatch()
  settle('broker ended')
  if not wanted then
    local how = signal ~= 0 and ('by signal ' .. signal) or ('with code ' .. code)
    ui.notify(('broker ended %s; :Broker start starts it again, :checkhealth broker says more'):format(how), vim.log.levels.ERROR)
  end
  told('BrokerStatus')
end

local function asked()
  local version = vim.version()
  return {
    broker = {
      status = true,
      commands = true,
      results = true,
      pick = true,
      input = true,
      active = true,
      client = ('nvim %d.%d.%d'):format(version.major, version.minor, version.patch),
    },
  }
end

local function described()
  return {
    name = 'broker',
    cmd = config.options.cmd,
    cmd_env = next(config.options.env) and config.options.env or nil,
    root_dir = state.root,
    workspace_folders = { { uri = vim.uri_from_fname(state.root), name = vim.fn.fnamemodify(state.root, ':t') } },
    init_options = asked(),
    settings = config.options.settings,
    handlers = handlers,
    flags = { debounce_text_changes = 0 }, -- a plugin must not read what an edit of its own has changed already
    on_init = function(_, answer)
      state.ready = true
      documents.watch(state.id, answer.capabilities or {})
      settle()
      told('BrokerStatus')
    end,
    on_exit = function(code, signal, id)
      vim.schedule(function()
        ended(id, code, signal)
      end)
    end,
  }
end

-- One that is not ready yet has nothing to say goodbye to, and would only finish its start.
local leaving ---@type integer?
local function end_with_neovim()
  leaving = leaving
    or vim.api.nvim_create_autocmd('VimLeavePre', {
      callback = function()
        if not state.ready then
          on_client('stop', true)
        end
      end,
    })
end

--- Start it if it does not run. What is wrong, if it cannot be.
---@return string? problem
function M.start()
  if client() and not state.stopping then
    return nil
  end
  local program = config.options.cmd[1]
  if vim.fn.executable(program) ~= 1 then
    return ('%q is no program Neovim can find; install it with `pipx install plugin-broker`, or set `cmd`'):format(program)
  end
  end_with_neovim()
  state.root, state.ready, state.stopping = M.root(), false, false
  if new_calls then
    state.id = vim.lsp.start(described(), {
      attach = false,
      reuse_client = function()
        return false
      end,
    })
  else
    state.id = vim.lsp.start_client(described())
  end
  return state.id == nil and 'broker did not start; :checkhealth broker says more' or nil
end

--- Tell it, if it runs.
---@param method string
---@param params table
function M.tell(method, params)
  if state.ready then
    on_client('notify', method, params)
  end
end

--- Ask it; `answer(err, result)` is called exactly once. What takes the request back, as a function.
---@param method string
---@param params table
---@param answer fun(err: table?, result: any)
---@return fun() cancel
function M.request(method, params, answer)
  local key, id = {}, nil
  local function once(err, result)
    if state.owed[key] then
      state.owed[key] = nil
      answer(err, result)
    end
  end
  local function go(problem)
    if problem or not state.owed[key] then
      return once({ message = problem })
    end
    local sent
    sent, id = on_client('request', method, params, once, 0)
    if not sent then
      once({ message = 'broker does not run' })
    end
  end
  state.owed[key] = once
  if state.ready then
    go()
  else
    table.insert(state.waiting, go)
  end
  return function()
    if id then
      on_client('cancel_request', id)
    end
    once({ message = 'cancelled', cancelled = true })
  end
end

--- Take back what runs in the background.
function M.cancel_progress()
  for _, each in ipairs(state.progress) do
    M.tell('window/workDoneProgress/cancel', { token = each.token })
  end
end

--- End it. It has five seconds for its plugins, and then it is ended by force.
---@param done fun()?
function M.stop(done)
  local id = state.id
  if not id or not client() then
    return done and done()
  end
  state.stopping = true
  on_client('stop')
  local waited = 0
  local function look()
    waited = waited + 1
    if state.id ~= id then
      return done and done()
    elseif waited == 100 then
      on_client('stop', true)
    end
    vim.defer_fn(look, 50)
  end
  look()
end

return M
