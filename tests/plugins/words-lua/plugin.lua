-- Counts the words of a text. One file, no build, no dependencies.
local words = require("words")

broker.tool({
  name = "count",
  description = "Counts the words of a text, the most frequent first",
  input = { text = "string", most = { "integer", default = 3, minimum = 1, maximum = 100, description = "How many" } },
  read_only = true,
  run = function(args)
    return { total = words.total(args.text), words = broker.json.array(words.frequent(args.text, args.most)) }
  end,
})

broker.tool({
  name = "greet",
  description = "Says hello",
  input = { name = "string" },
  run = function(args) return "Hello, " .. args.name .. ", from words-lua" end,
})

broker.prompt({
  name = "shorter",
  description = "Asks for a shorter text",
  arguments = { text = { "string", description = "What to shorten" } },
  run = function(args) return "Say this with half of its " .. words.total(args.text) .. " words:\n" .. args.text end,
})

broker.resource({
  uri = "words://about",
  name = "about",
  mime = "text/plain",
  read = function() return "Words are what is between spaces." end,
})

-- What it knows stays, also when broker ends: it is kept by the host, not by this script.
broker.tool({
  name = "remember",
  description = "Remembers a text, and gives back the one before",
  input = { text = "string" },
  run = function(args)
    local before = broker.state.get("text")
    broker.state.set("text", args.text)
    broker.log("remembered " .. #args.text .. " bytes")
    return { before = before }
  end,
})
