--- What `setup` takes, and what it is without it.

local M = {}

---@class broker.Config
M.defaults = {
  --- The command that is spawned. `broker` must be on the PATH Neovim has, or be a full path.
  cmd = { 'broker', 'lsp' },
  --- Variables of the environment for it, beside Neovim's own.
  env = {}, ---@type table<string, string>
  --- Start with Neovim. If false it starts with the first `:Broker`.
  autostart = true,
  --- The workspace is the nearest folder above the working directory that has one of these; without any, that itself.
  root_markers = { '.broker.toml', '.git' },
  --- What `broker` asks its editor for by `workspace/configuration`.
  settings = { broker = {} },
  --- How a message of a plugin is shown: function(text, level), with a level of `vim.log.levels`. nil: `vim.notify`.
  notify = nil, ---@type (fun(text: string, level: integer))?
  --- How the result of a command of several lines is shown: function(lines). nil: a window below.
  show = nil, ---@type (fun(lines: string[]))?
  --- The words of the statusline.
  icons = { ready = 'broker', working = 'broker …', failed = 'broker !', off = '' },
}

M.options = vim.deepcopy(M.defaults)

local types = {
  cmd = 'table',
  env = 'table',
  autostart = 'boolean',
  root_markers = 'table',
  settings = 'table',
  notify = 'function',
  show = 'function',
  icons = 'table',
}

--- The first thing that is wrong in options, or nil.
---@param options table
---@return string?
function M.problem(options)
  local names = vim.tbl_keys(types)
  table.sort(names)
  for key, value in pairs(options) do
    local wanted = types[key]
    if not wanted then
      return ('broker: there is no option %q; there are %s'):format(key, table.concat(names, ', '))
    elseif type(value) ~= wanted then
      return ('broker: the option %q must be a %s, and is a %s'):format(key, wanted, type(value))
    end
  end
end

---@param options table?
function M.set(options)
  local problem = M.problem(options or {})
  if problem then
    error(problem, 0)
  end
  M.options = vim.tbl_deep_extend('force', vim.deepcopy(M.defaults), options or {})
end

return M
