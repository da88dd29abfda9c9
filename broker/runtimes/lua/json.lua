-- JSON to and from the tables of a script, without running a metamethod of any. It runs where the script runs, so
-- that it ends with it. Argument: what boot.lua gives.
--
-- A table whose elements are 1..n is an array, any other an object, with its keys in order; an empty one is an object
-- unless array() made it. null in an object is a key that is not there; elsewhere it is `null`.
--
-- Gives back `json` for scripts, and `read`: its decode for where no hook is.
local boot = ...
local _ENV = boot.G
local charge, S = boot.charge, boot.S
local find, gsub, byte, sub, format, concat, sort = S.find, S.gsub, S.byte, S.sub, S.format, S.concat, S.sort
local next, type, rawget, rawset, rawlen, rawequal, tostring, tonumber, error =
  next, type, rawget, rawset, rawlen, rawequal, tostring, tonumber, error
local getmetatable, setmetatable, utf8, math = getmetatable, setmetatable, utf8, math
local integer, char, valid = math.type, utf8.char, utf8.len
local MAXDEPTH = 100
local SHORT = 4096 -- bytes; for a longer text Lua's quotes would take three times its memory
local SPECIAL = '[\0-\31\127"\\]'

local ARRAY = { __metatable = "array" } -- hidden: a script sees only the word
local NULL = setmetatable({}, { __metatable = "null" })

local ESCAPED = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escaped(c)
  return ESCAPED[c] or format("\\u%04x", byte(c))
end

local function text(s)
  charge(#s // 4)
  if not valid(s) then error("a text that is not UTF-8 cannot be sent", 0) end
  if #s < SHORT then -- Lua's own quotes are those of JSON where nothing in them is escaped: a pattern sees that later
    local quoted = format("%q", s)
    if #quoted == #s + 2 then return quoted end
  end
  if find(s, SPECIAL) then s = gsub(s, SPECIAL, escaped) end
  return '"' .. s .. '"'
end

local function number(n)
  if integer(n) == "integer" then return format("%d", n) end
  if n ~= n or n == math.huge or n == -math.huge then error("a number that is not finite cannot be sent", 0) end
  local short = format("%.14g", n)
  return tonumber(short) == n and short or format("%.17g", n)
end

local encoded

local function array(t, n, depth)
  local parts = {}
  for i = 1, n do
    parts[i] = encoded(rawget(t, i), depth)
  end
  return "[" .. concat(parts, ",") .. "]"
end

local function object(t, keys, depth)
  sort(keys)
  local parts = {}
  for i = 1, #keys do
    local key = keys[i]
    local value = rawget(t, key)
    if value == nil then value = rawget(t, tonumber(key)) end
    parts[i] = text(key) .. ":" .. encoded(value, depth)
  end
  return "{" .. concat(parts, ",") .. "}"
end

local function tabled(t, depth)
  if rawequal(t, NULL) then return "null" end
  if depth >= MAXDEPTH then error("tables too deep in each other, or in themselves, cannot be sent", 0) end
  local n, count, keys = rawlen(t), 0, {}
  for key in next, t do
    local kind = type(key)
    if kind ~= "string" and integer(key) ~= "integer" then error("a key that is a " .. kind .. " cannot be sent", 0) end
    count = count + 1
    keys[count] = kind == "string" and key or format("%d", key)
  end
  if count == n and (n > 0 or getmetatable(t) == "array") then return array(t, n, depth + 1) end
  return object(t, keys, depth + 1)
end

encoded = function(value, depth)
  local kind = type(value)
  if kind == "string" then return text(value) end
  if kind == "number" then return number(value) end
  if kind == "boolean" or kind == "nil" then return kind == "nil" and "null" or tostring(value) end
  if kind == "table" then return tabled(value, depth) end
  error("a " .. kind .. " cannot be sent", 0)
end

-- decoding

local function wrong(at)
  error("no JSON at character " .. at, 0)
end

-- The first byte that is no space, and where; nil and the end if there is none.
local function next_byte(s, at)
  local b = byte(s, at)
  if not b or b > 32 then return b, at end
  local _, last = find(s, "^[ \t\r\n]*", at)
  return byte(s, last + 1), last + 1
end

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }

local function unit(s, at)
  local digits = sub(s, at, at + 3)
  return find(digits, "^%x%x%x%x$") and tonumber(digits, 16) or wrong(at)
end

-- The character that \u at `at` spells, which may take two of them, and what follows.
local function spelled(s, at)
  local code = unit(s, at + 2)
  if code < 0xD800 or code > 0xDFFF then return char(code), at + 6 end
  local low = sub(s, at + 6, at + 7) == "\\u" and unit(s, at + 8)
  if code > 0xDBFF or not low or low < 0xDC00 or low > 0xDFFF then return "\u{FFFD}", at + 6 end
  return char(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00), at + 12
end

local slash -- the first \ not before the text that is read; looked for once, as most JSON has none

local function read_text(s, at)
  local from = at + 1
  local stop = find(s, '"', from, true) or wrong(at)
  if slash < from then slash = find(s, "\\", from, true) or math.huge end
  if stop < slash then return sub(s, from, stop - 1), stop + 1 end
  local parts, n = {}, 0
  stop = slash
  while true do
    n = n + 1
    parts[n] = sub(s, from, stop - 1)
    if byte(s, stop) == 34 then return concat(parts), stop + 1 end
    n = n + 1
    local letter = sub(s, stop + 1, stop + 1)
    if letter == "u" then
      parts[n], from = spelled(s, stop)
    else
      parts[n], from = ESCAPES[letter] or wrong(stop), stop + 2
    end
    stop = find(s, '["\\]', from) or wrong(at)
  end
end

local decoded

local function read_array(s, at, depth)
  local found, n = {}, 0
  local b
  b, at = next_byte(s, at + 1)
  if b == 93 then return setmetatable(found, ARRAY), at + 1 end
  while true do
    n = n + 1
    found[n], at = decoded(s, at, depth)
    b, at = next_byte(s, at)
    if b == 93 then return found, at + 1 end
    if b ~= 44 then wrong(at) end
    at = at + 1
  end
end

-- A key with escapes, and where its value begins.
local function read_key(s, at)
  local b, key
  b, at = next_byte(s, at)
  if b ~= 34 then wrong(at) end
  key, at = read_text(s, at)
  b, at = next_byte(s, at)
  if b ~= 58 then wrong(at) end
  return key, at + 1
end

-- The common way is written out: with the hook each call and each instruction counts.
local function read_object(s, at, depth)
  local found, before = {}, at
  while true do
    local _, last, key = find(s, '^[ \t\r\n]*"([^"\\]*)"[ \t\r\n]*:', at + 1)
    if last then
      at = last + 1
    else
      local b, next_at = next_byte(s, at + 1)
      if b == 125 and at == before then return found, next_at + 1 end
      key, at = read_key(s, at + 1)
    end
    local value
    if byte(s, at) == 34 then value, at = read_text(s, at) else value, at = decoded(s, at, depth) end
    if not rawequal(value, NULL) then found[key] = value end
    local b = byte(s, at)
    if b ~= 125 and b ~= 44 then b, at = next_byte(s, at) end
    if b == 125 then return found, at + 1 end
    if b ~= 44 then wrong(at) end
  end
end

local function read_number(s, at)
  local _, last = find(s, "^-?%d+%.?%d*[eE]?[+-]?%d*", at)
  if not last then wrong(at) end
  return tonumber(sub(s, at, last)) or wrong(at), last + 1
end

local WORDS = { t = { "true", true }, f = { "false", false }, n = { "null", NULL } }

decoded = function(s, at, depth)
  local b
  b, at = next_byte(s, at)
  if b == 34 then return read_text(s, at) end
  if b == 123 or b == 91 then
    if depth >= MAXDEPTH then error("JSON too deep", 0) end
    if b == 123 then return read_object(s, at, depth + 1) end
    return read_array(s, at, depth + 1)
  end
  local word = WORDS[sub(s, at, at)]
  if not word then return read_number(s, at) end
  if sub(s, at, at + #word[1] - 1) ~= word[1] then wrong(at) end
  return word[2], at + #word[1]
end

local json = { null = NULL }

function json.encode(value)
  return encoded(value, 0)
end

local function read(s)
  slash = 0
  local value, at = decoded(s, 1, 0)
  if at <= #s and next_byte(s, at) then wrong(at) end
  if rawequal(value, NULL) then return nil end
  return value
end

function json.decode(s)
  if type(s) ~= "string" then error("bad argument #1 to decode (string expected)", 2) end
  charge(#s)
  return read(s)
end

function json.array(t)
  if type(t) ~= "table" or getmetatable(t) ~= nil then error("bad argument #1 to array (plain table expected)", 2) end
  return setmetatable(t, ARRAY)
end

return { json = json, read = read }
