--- What is open, and where the person is in it.
---
--- Rule 1: buffers are attached only if broker asks for documents when it starts, and it does only if you let a plugin
---         see or change them. Else it never learns of any.
--- Rule 2: only files count, no terminals, help pages and lists.

local M = {}

local group ---@type integer?

local function uri_of(buffer)
  local name = vim.api.nvim_buf_get_name(buffer)
  if name == '' or vim.bo[buffer].buftype ~= '' or name:match('^%a[%w+.-]+://') then
    return nil
  end
  return vim.uri_from_fname(vim.fn.fnamemodify(name, ':p'))
end

local function wanted(sync)
  return type(sync) == 'table' and sync.openClose == true or type(sync) == 'number' and sync > 0
end

--- Attach the buffers there are and will be to the client, if it wants documents.
---@param id integer
---@param capabilities table of the server
function M.watch(id, capabilities)
  if not wanted(capabilities.textDocumentSync) then
    return
  end
  local function attach(buffer)
    if vim.api.nvim_buf_is_loaded(buffer) and uri_of(buffer) then
      vim.lsp.buf_attach_client(buffer, id)
    end
  end
  group = vim.api.nvim_create_augroup('broker', {})
  vim.api.nvim_create_autocmd({ 'BufReadPost', 'BufNewFile', 'BufFilePost' }, {
    group = group,
    callback = function(at)
      attach(at.buf)
    end,
  })
  for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
    attach(buffer)
  end
end

function M.unwatch()
  if group then
    vim.api.nvim_del_augroup_by_id(group)
    group = nil
  end
end

--- The first and the last line that the command that runs was given.
M.lines = nil ---@type integer[]?

--- Where the cursor is, or what is selected, as (1,0) positions.
local function selection()
  if M.lines then
    local first, last = M.lines[1], M.lines[2]
    return { first, 0 }, { last, math.max(#vim.fn.getline(last) - 1, 0) }
  end
  local cursor, mode = vim.api.nvim_win_get_cursor(0), vim.fn.mode()
  if mode ~= 'v' and mode ~= 'V' then
    return cursor, nil
  end
  local other = vim.fn.getpos('v')
  local first, last = cursor, { other[2], other[3] - 1 }
  if last[1] < first[1] or (last[1] == first[1] and last[2] < first[2]) then
    first, last = last, first
  end
  if mode == 'V' then
    return { first[1], 0 }, { last[1], math.max(#vim.fn.getline(last[1]) - 1, 0) }
  end
  return first, last
end

M.handlers = {}

M.handlers['broker/active'] = function()
  local uri = uri_of(0)
  if not uri then
    return vim.NIL
  end
  local first, last = selection()
  local range
  if last then
    range = vim.lsp.util.make_given_range_params(first, last, 0, 'utf-16').range
  else
    local here = vim.lsp.util.make_position_params(0, 'utf-16').position
    range = { start = here, ['end'] = here }
  end
  return { uri = uri, range = range, languageId = vim.bo.filetype }
end

return M
