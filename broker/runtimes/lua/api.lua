-- What a script says to the broker: the table `broker`, and `require`. What it registers is kept here, out of its reach.
-- Arguments: what boot.lua gives, what json.lua gives, and host(op, json), which gives back ok and json, or a text.
local boot, texts, host = ...
local json, read = texts.json, texts.read
local _ENV = boot.G
local E, look, arm = boot.E, boot.look, boot.arm
local find, format = boot.S.find, boot.S.format
local type, rawget, next, error, pairs, tostring, select = type, rawget, next, error, pairs, tostring, select
local pcall, inside = pcall, boot.run
local encode, decode = json.encode, json.decode
local SMALL = 4096 -- bytes; what is read outside of the hook takes less than a millisecond

local KEYS = {
  tools = { name = "string", title = "string", description = "string", input = "table", output = "table",
    annotations = "table", read_only = "boolean", run = "function" },
  prompts = { name = "string", title = "string", description = "string", arguments = "table", run = "function",
    complete = "function" },
  resources = { uri = "string", name = "string", title = "string", description = "string", mime = "string",
    read = "function" },
  templates = { template = "string", name = "string", title = "string", description = "string", mime = "string",
    read = "function", complete = "function" },
  commands = { name = "string", title = "string", description = "string", run = "function" },
}
local DOES = { tools = "run", prompts = "run", resources = "read", templates = "read", commands = "run" }
local NAMED = { tools = "name", prompts = "name", resources = "uri", templates = "template", commands = "name" }

local shown, does = {}, {}
for kind in pairs(KEYS) do
  shown[kind], does[kind] = {}, {}
end
local loading, hooks, hears, completes = true, {}, {}, {}

-- A host that was asked may have lifted the bound of memory, and may have taken long.
local function ask(op, params)
  local ok, answer = host(op, params)
  arm()
  look()
  if not ok then error(answer, 3) end
  return answer
end

local function register(kind, what)
  return function(given)
    if not loading then error("broker." .. what .. " can be called only while the script is loaded", 2) end
    if type(given) ~= "table" then error("broker." .. what .. " takes one table: broker." .. what .. "{...}", 2) end
    local kept = {}
    for key, value in next, given do
      local wanted = type(key) == "string" and rawget(KEYS[kind], key)
      if not wanted then error("broker." .. what .. " does not know the key " .. format("%q", tostring(key)), 2) end
      if type(value) ~= wanted then
        error("broker." .. what .. ": `" .. key .. "` must be a " .. wanted .. ", not a " .. type(value), 2)
      end
      kept[key] = value
    end
    local name, run = kept[NAMED[kind]], kept[DOES[kind]]
    if not name then error("broker." .. what .. " needs `" .. NAMED[kind] .. "`", 2) end
    if not run then error("broker." .. what .. " needs `" .. DOES[kind] .. "`, a function", 2) end
    if does[kind][name] then error("there are two of broker." .. what .. " called " .. name, 2) end
    kept[DOES[kind]] = nil
    does[kind][name] = run
    completes[kind .. " " .. name], kept.complete = kept.complete, kept.complete and true
    local all = shown[kind]
    all[#all + 1] = kept
  end
end

local broker = {
  tool = register("tools", "tool"), prompt = register("prompts", "prompt"), command = register("commands", "command"),
  json = json,
}
local resource, template = register("resources", "resource"), register("templates", "resource")

function broker.resource(given)
  if type(given) == "table" and rawget(given, "template") ~= nil then return template(given) end
  return resource(given)
end

local EVENTS = { pre_request = true, post_response = true, on_connect = true, on_close = true }

-- One function for each event; when it is asked is said by the manifest's [[hooks]].
function broker.hook(event, run)
  if not loading then error("broker.hook can be called only while the script is loaded", 2) end
  if type(event) ~= "string" or not EVENTS[event] then
    error("broker.hook takes pre_request, post_response, on_connect or on_close, and a function", 2)
  end
  if type(run) ~= "function" then error("bad argument #2 to broker.hook (function expected)", 2) end
  if hooks[event] then error("there are two hooks for " .. event, 2) end
  hooks[event] = run
end

-- One function for each event of the editor; it is told afterwards, and its answer is nobody's.
function broker.on(event, run)
  if not loading then error("broker.on can be called only while the script is loaded", 2) end
  if type(event) ~= "string" or not find(event, "^%l+%.%l+$") then
    error("broker.on takes the name of an event like document.saved, and a function", 2)
  end
  if type(run) ~= "function" then error("bad argument #2 to broker.on (function expected)", 2) end
  if hears[event] then error("there are two of broker.on for " .. event, 2) end
  hears[event] = run
end

function broker.call(op, params)
  if type(op) ~= "string" then error("bad argument #1 to broker.call (the name of an operation expected)", 2) end
  if params ~= nil and type(params) ~= "table" then error("bad argument #2 to broker.call (table expected)", 2) end
  return decode(ask(op, params == nil and "{}" or encode(params)))
end

-- the same operations under names that read well

local function operate(op, params)
  return decode(ask(op, encode(params)))
end

-- What a script may add to the first arguments of an operation.
local function with(more, params)
  if more == nil then return params end
  if type(more) ~= "table" then error("the last argument must be a table", 3) end
  for key, value in next, more do
    if rawget(params, key) == nil then params[key] = value end
  end
  return params
end

function broker.log(message, level) return operate("log", { message = tostring(message), level = level }) end
function broker.toast(title, message, kind)
  return operate("toast", { title = title, message = message, kind = kind })
end
function broker.status(key, value) return operate("set_status", { key = key, value = value }) end
function broker.progress(done, total, message)
  return operate("progress", { progress = done, total = total, message = message })
end
function broker.exec(command, more) return operate("exec", with(more, { command = command })) end
function broker.ask(message, more) return operate("ask", with(more, { message = message })) end

broker.config = { get = function(key) return operate("config.get", { key = key }) end }
broker.state = {
  get = function(key) return operate("state.get", { key = key }) end,
  set = function(key, value) return operate("state.set", { key = key, value = value == nil and json.null or value }) end,
}
broker.fs = {
  read = function(path, more) return operate("fs.read", with(more, { path = path })) end,
  write = function(path, text, more) return operate("fs.write", with(more, { path = path, text = text })) end,
}
broker.http = { fetch = function(url, more) return operate("http.fetch", with(more, { url = url })) end }

-- what the person in front of an editor sees and is asked; elsewhere the error has `not-in-client`, or nobody answers

function broker.pick(message, items) return operate("pick", { message = message, items = items }).value end
function broker.input(message, more) return operate("input", with(more, { message = message })).value end
function broker.confirm(message, more) return operate("confirm", with(more, { message = message })).confirmed end
function broker.show(uri, more) return operate("show", with(more, { uri = uri })).shown end

function broker.config.set(key, value)
  return operate("config.set", { key = key, value = value == nil and json.null or value })
end

broker.secrets = {
  get = function(name) return operate("secrets.get", { name = name }).value end,
  set = function(name, value) return operate("secrets.set", { name = name, value = value }) end,
  delete = function(name) return operate("secrets.delete", { name = name }).deleted end,
}
broker.work = {
  begin = function(id, title, more) return operate("progress.begin", with(more, { id = id, title = title })).shown end,
  report = function(id, more) return operate("progress.report", with(more, { id = id })).cancelled end,
  finish = function(id, message) return operate("progress.end", { id = id, message = message }).shown end,
}
broker.editor = {
  active = function() return operate("editor.active", {}) end,
  read = function(uri) return operate("editor.read", { uri = uri }) end,
  edit = function(changes, label) return operate("editor.edit", { changes = changes, label = label }).applied end,
  diagnostics = function(uri, all)
    return operate("editor.diagnostics", { uri = uri, diagnostics = #all > 0 and all or json.array {} }).shown
  end,
}

E.broker = broker

function E.print(...)
  local parts = {}
  for i = 1, select("#", ...) do
    parts[i] = tostring((select(i, ...)))
  end
  ask("print", encode(boot.S.concat(parts, "\t")))
end

-- modules: other files of the plugin's folder, each run once

local modules, BUSY = {}, {}

function E.require(name)
  if type(name) ~= "string" or not find(name, "^[%w_%-][%w_%-%.]*$") or find(name, "..", 1, true) then
    error("require takes a name like `words` or `parts.words`, of a file in the plugin's folder", 2)
  end
  local found = modules[name]
  if found == BUSY then error("module " .. name .. " requires itself", 2) end
  if found ~= nil then return found end
  local source = ask("require", encode(name))
  local run, why = boot.chunk(source, "=" .. name)
  if not run then error(why, 2) end
  modules[name] = BUSY
  local value = run(name)
  if value == nil then value = true end
  modules[name] = value
  return value
end

local function load(source)
  local run, why = boot.chunk(source, "=plugin")
  if not run then error(why, 0) end
  run()
  loading = false
  local found = {}
  for kind, all in pairs(shown) do
    found[kind] = #all > 0 and all or nil
  end
  local events = {}
  for event in pairs(hears) do events[#events + 1] = event end
  found.events = #events > 0 and events or nil
  return encode(found)
end

local function answer(kind, name, given)
  local all = does[kind]
  if all then
    local value = all[name](given)
    if type(value) == "string" then return value, true end
    return encode(value)
  end
  if kind == "hooks" then
    if not hooks[name] then return "{}" end
    local said = hooks[name](given)
    return said == nil and "{}" or encode(said)
  end
  if kind == "events" then
    hears[name](given)
    return "null"
  end
  return encode((completes[name](given.argument, given.value, given.given)))
end

local function read_and_answer(kind, name, arguments)
  return answer(kind, name, decode(arguments))
end

-- Where there was no room for what is given, the bound of memory was lifted for it, and is `late`.
local ways = {}

function ways.load(late, source)
  if late then arm() end
  return inside(load, source)
end

function ways.invoke(late, kind, name, arguments)
  if late then arm() end
  if #arguments > SMALL then return inside(read_and_answer, kind, name, arguments) end
  local ok, given = pcall(read, arguments) -- the hook would double the time that this takes
  if not ok then return nil, "error", given end
  return inside(answer, kind, name, given)
end

return ways
