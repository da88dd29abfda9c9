--- `:checkhealth broker`.

local M = {}

-- Before 0.10 they had longer names.
local health = vim.health or require('health')
local start = health.start or health.report_start
local ok = health.ok or health.report_ok
local warn = health.warn or health.report_warn
local failed = health.error or health.report_error
local info = health.info or health.report_info

local function neovim()
  if vim.fn.has('nvim-0.10') == 1 then
    ok('Neovim is new enough')
  else
    warn('Neovim is older than 0.10: a question blocks the editor, and plugins cannot open files')
  end
end

local function program(cmd)
  if vim.fn.executable(cmd[1]) ~= 1 then
    failed(('%q is no program Neovim can find'):format(cmd[1]), {
      'pipx install plugin-broker',
      "or: require('broker').setup({ cmd = { '/full/path/to/broker', 'lsp' } })",
    })
    return
  end
  local said = vim.fn.system({ cmd[1], '--version' })
  if vim.v.shell_error == 0 then
    ok(('%s: %s'):format(vim.fn.exepath(cmd[1]), vim.trim(said)))
  else
    warn(('%s --version fails: %s'):format(cmd[1], vim.trim(said)))
  end
end

local function session(state)
  if not state.ready then
    warn('broker does not run', { ':Broker start', ':Broker log' })
    return
  end
  ok('broker serves ' .. state.root)
  local plugins = (state.status or {}).plugins or {}
  for _, each in ipairs(plugins) do
    info(('%s: %s'):format(each.name, each.state))
  end
  info(('%d plugins, %d commands; `broker doctor` in a terminal looks at each'):format(#plugins, #state.commands))
end

function M.check()
  start('broker')
  neovim()
  program(require('broker.config').options.cmd)
  session(require('broker.client').state)
end

return M
