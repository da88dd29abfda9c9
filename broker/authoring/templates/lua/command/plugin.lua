-- my-plugin: one command for people, in their editors.
broker.command({
  name = "hello",
  title = "Say hello",
  run = function(args)
    local name = args[1] or "you"
    broker.toast("Hello, " .. name .. "!")
    return "greeted " .. name
  end,
})
