-- Defines `:Broker`, and nothing else until it is used.
if vim.g.loaded_broker or vim.fn.has('nvim-0.7') == 0 then
  return
end
vim.g.loaded_broker = true

vim.api.nvim_create_user_command('Broker', function(given)
  local lines = given.range > 0 and { given.line1, given.line2 } or nil
  require('broker.command').perform(given.args, lines)
end, {
  nargs = '*',
  range = true,
  desc = 'Run a command of a plugin, or steer broker',
  complete = function(...)
    return require('broker.command').complete(...)
  end,
})
