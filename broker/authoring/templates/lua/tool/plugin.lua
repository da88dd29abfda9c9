-- my-plugin: one tool for models.
broker.tool({
  name = "greet",
  description = "Greets somebody",
  input = { name = { "string", description = "Whom" } },
  read_only = true,
  run = function(args) return broker.config.get("greeting") .. ", " .. args.name .. "!" end,
})
