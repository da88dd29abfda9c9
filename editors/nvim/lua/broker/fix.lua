--- The remedies that plugins offer for what they found wrong in the line of the cursor.

local M = {}

local function place()
  local row = vim.api.nvim_win_get_cursor(0)[1] - 1
  return {
    textDocument = { uri = vim.uri_from_bufnr(0) },
    range = { start = { line = row, character = 0 }, ['end'] = { line = row + 1, character = 0 } },
    context = { diagnostics = {} },
  }
end

local function apply(action)
  local client = require('broker.client')
  if action.edit then
    vim.lsp.util.apply_workspace_edit(action.edit, 'utf-16')
  end
  local command = type(action.command) == 'table' and action.command or action.command and action
  if command then
    local params = { command = command.command, arguments = command.arguments }
    client.request('workspace/executeCommand', params, function(err, result)
      if err then
        require('broker.ui').notify(('%s: %s'):format(command.title, err.message), vim.log.levels.ERROR)
      else
        require('broker.ui').result(result)
      end
    end)
  end
end

--- Choose one, and apply it.
function M.choose()
  require('broker.client').request('textDocument/codeAction', place(), function(err, actions)
    if err or type(actions) ~= 'table' or #actions == 0 then
      return require('broker.ui').notify(err and err.message or 'your plugins have no remedy for this line')
    end
    vim.ui.select(actions, {
      prompt = 'broker',
      kind = 'broker',
      format_item = function(action)
        return action.title
      end,
    }, function(action)
      if action then
        apply(action)
      end
    end)
  end)
end

return M
