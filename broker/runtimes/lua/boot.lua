-- The environment in which a script runs, and the only ways into it and out of it. Lua 5.4.
--
-- Rule 1: a script runs in a coroutine of its own, with a hook every COUNT instructions. The main thread has no hook,
--         so that the end of a script cannot hit the code here; and nothing here runs a metamethod of a script's.
-- Rule 2: no loop in C is longer than MAXOP steps, because none sees a hook: what may be is refused by its size first.
-- Rule 3: once `dead`, every way back into the script (pcall, resume, a handler) throws on.
-- Rule 4: nothing of the real globals can be reached: functions are our own, tables are copies, metatables hidden.
--
-- Arguments: tick() says why the script must end, or nil; arm() sets the bound of its memory; the largest string;
-- how many steps one call of a C function may take (a process that can be killed need not bound them).
local tick, arm, MAXSTR, MAXOP = ...
local COUNT = 1000 -- instructions; a hook costs a script half of its speed at most
local LOOK = 0.005 -- seconds of processor time after which the clock is asked, which takes Python's lock
local CHARGED = 200000 -- steps in C after which the clock is looked at
local MAXDEPTH = 180 -- pcalls in each other: unwinding takes the square of it
local MAXSLICE = 4096 -- values that one call may return
local MAXCOROUTINES = 100000

local error, pcall, xpcall, select, type, rawget, rawset = error, pcall, xpcall, select, type, rawget, rawset
local rawlen, rawequal, next, pairs, ipairs, tostring, tonumber = rawlen, rawequal, next, pairs, ipairs, tostring, tonumber
local setmetatable, getmetatable, assert, load = setmetatable, getmetatable, assert, load
local sethook, gethook = debug.sethook, debug.gethook
local string, table, math, utf8, coroutine, os = string, table, math, utf8, coroutine, os
local clock, tointeger = os.clock, math.tointeger

-- the end of a script

local KILL = setmetatable({}, { __metatable = false, __name = "killed" })
local dead, cost, next_look, depth, coroutines = false, 0, 0, 0, 0
local hook

local function die(why)
  dead = dead or why
  -- Setting a hook walks the chain of calls: once a thread, not once a frame.
  local _, _, count = gethook()
  if count ~= 1 then sethook(hook, "", 1) end
  error(KILL, 0)
end

hook = function()
  if dead then die(dead) end
  local now = clock()
  if now < next_look then return end
  next_look = now + LOOK
  local why = tick()
  if why then die(why) end
end

local function charge(steps)
  cost = cost + steps
  if cost > CHARGED then
    cost = 0
    hook()
  end
end

local function guard(steps, what)
  if steps > MAXOP then error(what .. " would take too long", 3) end
  charge(steps)
end

-- arguments

local function text(value, index, name)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "number" then return tostring(value) end
  error("bad argument #" .. index .. " to " .. name .. " (string expected, got " .. kind .. ")", 3)
end

local function int(value, index, name, default)
  if value == nil and default ~= nil then return default end
  local kind = type(value)
  local found = (kind == "number" or kind == "string") and tointeger(tonumber(value))
  if not found then error("bad argument #" .. index .. " to " .. name .. " (integer expected)", 3) end
  return found
end

local function fn(value, index, name)
  if type(value) ~= "function" then
    error("bad argument #" .. index .. " to " .. name .. " (function expected, got " .. type(value) .. ")", 3)
  end
  return value
end

-- calls that catch

local function after(ok, ...)
  depth = depth - 1
  if dead then die(dead) end
  if not ok then hook() end
  return ok, ...
end

local function enter()
  -- In a coroutine Lua's own bound of C calls does not count these.
  if depth >= MAXDEPTH then error("too many protected calls in each other", 3) end
  depth = depth + 1
end

local E = {
  error = error, assert = assert, select = select, type = type, next = next, pairs = pairs, ipairs = ipairs,
  tostring = tostring, rawequal = rawequal, rawlen = rawlen, rawget = rawget, rawset = rawset, _VERSION = _VERSION,
}

function E.pcall(f, ...)
  enter()
  return after(pcall(f, ...))
end

function E.xpcall(f, handler, ...)
  fn(handler, 2, "xpcall")
  enter()
  return after(xpcall(f, function(e)
    if dead then return e end
    return handler(e)
  end, ...))
end

function E.tonumber(value, ...)
  if type(value) == "string" then charge(#value) end
  return tonumber(value, ...)
end

function E.getmetatable(value)
  if type(value) ~= "table" then return nil end
  return getmetatable(value)
end

function E.setmetatable(t, meta)
  if type(t) ~= "table" then error("bad argument #1 to setmetatable (table expected)", 2) end
  if meta ~= nil then
    if type(meta) ~= "table" then error("bad argument #2 to setmetatable (nil or table expected)", 2) end
    if rawget(meta, "__gc") ~= nil then error("__gc is not allowed", 2) end -- it runs without hooks
    local mode = rawget(meta, "__mode")
    if mode ~= nil and not rawequal(mode, "v") then error("only __mode = 'v' is allowed", 2) end
  end
  return setmetatable(t, meta)
end

-- string: the real table is changed, because methods of strings come from it

local S = string
local rep, find, match, gmatch, gsub, byte = S.rep, S.find, S.match, S.gmatch, S.gsub, S.byte
local format, sub, pack, unpack = S.format, S.sub, S.pack, S.unpack

-- Where the set that opens at `i` ends.
local function set_end(p, i)
  local j, length = i + 1, #p
  if byte(p, j) == 94 then j = j + 1 end -- ^
  if byte(p, j) == 93 then j = j + 1 end -- ]
  while j <= length and byte(p, j) ~= 93 do
    if byte(p, j) == 37 then j = j + 1 end -- %
    j = j + 1
  end
  return j + 1
end

-- The most steps that Lua's matcher can take, which goes back and tries again: a subject's length for each * + and -,
-- two for each ?, and each position of the subject to begin at.
local function pattern_cost(s, p, anchored)
  local n = #s + 1
  local steps, i, length = n, 1, #p
  if length > 1024 then error("pattern too long", 4) end
  if byte(p, 1) == 94 and anchored then steps, i = 1, 2 end
  while i <= length do
    local b, single = byte(p, i), true
    if b == 37 then -- %
      local x = byte(p, i + 1)
      i = i + 2
      if x == 98 then -- %bxy
        i, steps, single = i + 2, steps * n, false
      elseif x and x >= 48 and x <= 57 then -- %1
        steps, single = steps * n, false
      end
    elseif b == 91 then -- [
      i = set_end(p, i)
    else
      i = i + 1
    end
    if single then
      local q = byte(p, i)
      if (q == 42 or q == 43) and i == length then -- at the end nothing can fail after it
        i = i + 1
      elseif q == 42 or q == 43 or q == 45 then -- * + -
        steps, i = steps * n, i + 1
      elseif q == 63 then -- ?
        steps, i = steps * 2, i + 1
      end
    end
    if steps > 1e15 then return 1e15 end
  end
  return steps
end

local function pattern_guard(s, p, name, anchored)
  local steps = pattern_cost(s, p, anchored)
  if steps > MAXOP then error(name .. ": this pattern may take too long on " .. #s .. " bytes (isolation = \"process\" allows it)", 3) end
  charge(steps > 1000 and steps // 10 or steps) -- the worst case is rare
end

function S.rep(s, n, between)
  s, n = text(s, 1, "rep"), int(n, 2, "rep")
  between = between == nil and "" or text(between, 3, "rep")
  local length = #s + #between
  if n <= 0 or length == 0 then return "" end
  if n > MAXSTR or length * n > MAXSTR then error("the string would be too large", 2) end
  charge(length * n // 16 + n)
  return rep(s, n, between)
end

function S.find(s, p, init, plain)
  s, p = text(s, 1, "find"), text(p, 2, "find")
  init = int(init, 3, "find", 1)
  if plain or not find(p, "[%^%$%*%+%?%.%(%[%%%-]") then
    guard((#p > 0 and #s or 0) + (#p > 16 and #s * #p // 8 or 0), "find")
    return find(s, p, init, true)
  end
  pattern_guard(s, p, "find", true)
  return find(s, p, init)
end

function S.match(s, p, init)
  s, p = text(s, 1, "match"), text(p, 2, "match")
  pattern_guard(s, p, "match", true)
  return match(s, p, int(init, 3, "match", 1))
end

function S.gmatch(s, p, init)
  s, p = text(s, 1, "gmatch"), text(p, 2, "gmatch")
  pattern_guard(s, p, "gmatch", false)
  local step = gmatch(s, p, int(init, 3, "gmatch", 1))
  return function()
    charge(64)
    return step()
  end
end

function S.gsub(s, p, r, n)
  s, p = text(s, 1, "gsub"), text(p, 2, "gsub")
  pattern_guard(s, p, "gsub", true)
  local kind, put = type(r), r
  if kind == "function" then
    put = function(...) return r(...) end -- a function of C's would have no hook
  elseif kind == "table" then
    put = function(key) return r[key] end
  else
    put = text(r, 3, "gsub")
    if #put > 64 and #put * (#s + 1) > MAXSTR * 4 then error("the string would be too large", 2) end
    charge(#s)
  end
  if n == nil then return gsub(s, p, put) end
  return gsub(s, p, put, int(n, 4, "gsub"))
end

function S.byte(s, i, j)
  s, i = text(s, 1, "byte"), int(i, 2, "byte", 1)
  j = int(j, 3, "byte", i)
  if i < 0 then i = #s + i + 1 end
  if j < 0 then j = #s + j + 1 end
  if i < 1 then i = 1 end
  if j > #s then j = #s end
  if j - i >= MAXSLICE then error("string slice too long", 2) end
  return byte(s, i, j)
end

function S.format(f, ...)
  f = text(f, 1, "format")
  if #f > 65536 then error("format too long", 2) end
  charge(#f)
  return format(f, ...)
end

function S.pack(f, ...)
  f = text(f, 1, "pack")
  if #f > MAXSLICE then error("format too long", 2) end
  return pack(f, ...)
end

function S.unpack(f, s, at)
  f = text(f, 1, "unpack")
  if #f > MAXSLICE then error("format too long", 2) end
  return unpack(f, text(s, 2, "unpack"), int(at, 3, "unpack", 1))
end

for _, name in ipairs({ "upper", "lower", "reverse" }) do
  local real = S[name]
  S[name] = function(s)
    s = text(s, 1, name)
    charge(#s // 4)
    return real(s)
  end
end
S.dump = nil

local function copied(from)
  local to = {}
  for key, value in pairs(from) do to[key] = value end
  return to
end
E.string = copied(S)

-- table: only tables whose elements are their own reach a loop in C

local T = table
local concat, insert, remove, move, sort, spread = T.concat, T.insert, T.remove, T.move, T.sort, T.unpack

local function plain(t, name)
  if type(t) ~= "table" then
    error("bad argument #1 to " .. name .. " (table expected, got " .. type(t) .. ")", 3)
  end
  local meta = getmetatable(t)
  if meta == nil then return rawlen(t) end
  if type(meta) ~= "table" or rawget(meta, "__len") ~= nil or rawget(meta, "__index") ~= nil
    or rawget(meta, "__newindex") ~= nil then
    error(name .. ": tables with __len, __index or __newindex cannot be used", 3)
  end
  return rawlen(t)
end

local function at_least_none(n)
  return n > 0 and n or 0
end

E.table = { pack = T.pack }

function E.table.concat(t, between, i, j)
  local n = plain(t, "concat")
  i, j = int(i, 3, "concat", 1), int(j, 4, "concat", n)
  if j > n + 1 then j = n + 1 end
  local length = between == nil and 0 or #text(between, 2, "concat")
  if length * at_least_none(j - i + 1) > MAXSTR * 4 then error("the string would be too large", 2) end
  charge(at_least_none(j - i + 1))
  return concat(t, between, i, j)
end

function E.table.insert(t, ...)
  local n = plain(t, "insert")
  if select("#", ...) >= 2 then charge(at_least_none(n - int((...), 2, "insert") + 1)) end
  return insert(t, ...)
end

function E.table.remove(t, at)
  local n = plain(t, "remove")
  if at == nil then return remove(t) end
  at = int(at, 2, "remove")
  charge(at_least_none(n - at))
  return remove(t, at)
end

function E.table.move(from, first, last, to, into)
  plain(from, "move")
  if into ~= nil then plain(into, "move") end
  first, last, to = int(first, 2, "move"), int(last, 3, "move"), int(to, 4, "move")
  if last >= first then
    -- The difference of two far ends wraps around.
    if last - first > 1000000 or last - first < 0 then error("move: too many elements", 2) end
    charge(last - first + 1)
  end
  return move(from, first, last, to, into or from)
end

function E.table.sort(t, before)
  local n = plain(t, "sort")
  if before ~= nil then
    fn(before, 2, "sort")
    return sort(t, function(a, b) return before(a, b) end)
  end
  if n > 2000 then return sort(t, function(a, b) return a < b end) end
  return sort(t)
end

function E.table.unpack(t, i, j)
  local n = plain(t, "unpack")
  i, j = int(i, 2, "unpack", 1), int(j, 3, "unpack", n)
  if j >= i and (j - i >= MAXSLICE or j - i < 0) then error("too many results to unpack", 2) end
  return spread(t, i, j)
end

-- the rest

E.math = copied(math)
E.utf8 = copied(utf8)

function E.utf8.len(s, ...)
  s = text(s, 1, "len")
  charge(#s)
  return utf8.len(s, ...)
end

function E.utf8.codepoint(s, i, j, lax)
  s, i = text(s, 1, "codepoint"), int(i, 2, "codepoint", 1)
  j = int(j, 3, "codepoint", i)
  if j < 0 then j = #s + j + 1 end
  if i < 0 then i = #s + i + 1 end
  if j - i >= MAXSLICE then error("string slice too long", 2) end
  return utf8.codepoint(s, i, j, lax)
end

local now, date = os.time, os.date
E.os = {
  time = function() return now() end,
  clock = clock,
  date = function(f, at)
    f = f == nil and "%c" or text(f, 1, "date")
    if #f > 200 then error("format too long", 2) end
    return date(f, at ~= nil and int(at, 2, "date") or nil)
  end,
}

-- coroutines: each has the hook, and none swallows the end

local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield

local function hooked(f)
  fn(f, 1, "create")
  coroutines = coroutines + 1
  if coroutines > MAXCOROUTINES then error("too many coroutines", 3) end
  charge(500)
  local thread = create(f)
  sethook(thread, hook, "", COUNT)
  return thread
end

local function unwrapped(ok, ...)
  depth = depth - 1
  if dead then die(dead) end
  if not ok then
    hook()
    error((...), 0)
  end
  return ...
end

-- There is no close: an error in a hook leaves hooks off on that thread, and close would run its __close handlers.
E.coroutine = {
  create = hooked,
  wrap = function(f)
    local thread = hooked(f)
    return function(...)
      enter()
      return unwrapped(resume(thread, ...))
    end
  end,
  resume = function(thread, ...)
    if type(thread) ~= "thread" then error("bad argument #1 to resume (coroutine expected)", 2) end
    enter()
    return after(resume(thread, ...))
  end,
  yield = yield,
  status = coroutine.status,
  isyieldable = coroutine.isyieldable,
  running = coroutine.running,
}
E._G = E

local G = copied(_G) -- for the other trusted files
for name in pairs(_G) do
  if name ~= "_G" then _G[name] = nil end
end
_G._G = nil

-- the way in

local TOKEN = {}
local thread

local function runner(f, a, b, c)
  while true do
    f, a, b, c = yield(TOKEN, f(a, b, c))
  end
end

local function finished(ok, token, value, is_text)
  if dead then
    thread = nil
    return nil, "killed", dead
  end
  -- Only raw comparisons: this is the main thread, and == would run a script's __eq.
  if ok and rawequal(token, TOKEN) then
    if is_text then return true, value end
    return value
  end
  thread = nil
  if ok then return nil, "error", "it yielded outside of a coroutine of its own" end
  if type(token) == "string" then return nil, "error", sub(token, 1, 4096) end
  return nil, "error", "it threw a " .. type(token) .. " instead of a text"
end

-- Run `f` in the script's coroutine; the JSON that it gives back, or true and its text, or nil, what happened, and why.
local function run(f, a, b, c)
  if thread == nil then
    thread = create(runner)
    sethook(thread, hook, "", COUNT)
  end
  cost, depth, next_look = 0, 0, 0
  return finished(resume(thread, f, a, b, c))
end

-- A chunk of a script's, as text; nil and why it is none.
local function chunk(source, name)
  charge(#source)
  return load(source, name, "t", E)
end

return {
  G = G, E = E, run = run, chunk = chunk, charge = charge, look = hook, arm = arm, copied = copied,
  S = { find = find, match = match, gsub = gsub, byte = byte, sub = sub, format = format, concat = concat, sort = sort },
}
