-- my-plugin: has a say in the calls of other plugins' tools.
broker.hook("pre_request", function(event)
  local refused = broker.config.get("refused")
  if event.tool:find(refused, 1, true) then
    return { allow = false, reason = "tools with " .. refused .. " in their names are refused" }
  end
end)
