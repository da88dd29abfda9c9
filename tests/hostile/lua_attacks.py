"""Scripts that want to hang, crash, eat or escape the broker, by class; each is the body of one tool.

A value may come back, or a failure: what counts is that one does, in time, and that everything else goes on. What
begins with `ESCAPED` would be a way out.
"""

from __future__ import annotations

LOOPS = {
    "while": "while true do end",
    "repeat": "repeat until false",
    "goto": "::a:: goto a",
    "numeric for": "for i = 1, math.huge do end",
    "generic for": "for _ in function() return 1 end do end",
    "tail call": "local function f() return f() end return f()",
    "mutual tail calls": "local a, b; a = function() return b() end; b = function() return a() end; return a()",
    "arithmetic": "local x = 0 while true do x = (x * 31 + 7) % 1000003 end",
    "string building": "local s = '' while true do s = 'x' .. #s end",
    "table writes": "local t = {} while true do t[1] = (t[1] or 0) + 1 end",
    "next": "local t = {1} while true do next(t) end",
    "closures": "while true do local f = function() end end",
    "tostring": "while true do tostring({}) end",
    "select": "while true do select('#', 1, 2, 3) end",
    "math.random": "while true do math.random() end",
    "os.time": "while true do os.time() end",
    "os.clock": "while true do os.clock() end",
    "os.date": "while true do os.date('%Y') end",
    "type": "while true do type(1) end",
    "json": "while true do broker.json.encode({1, 2, {a = 'b'}}) end",
    "json decode": "while true do broker.json.decode('[1,2,3]') end",
}
CATCHING = {
    "pcall loop": "while true do pcall(function() while true do end end) end",
    "pcall error loop": "while true do pcall(error) end",
    "pcall of itself": "while true do pcall(pcall, pcall, error) end",
    "xpcall loop": "while true do xpcall(function() while true do end end, function() end) end",
    "xpcall handler loops": "xpcall(error, function() while true do end end)",
    "xpcall handler throws": "while true do xpcall(error, error) end",
    "handler in handler": "local function h() xpcall(error, h) end while true do h() end",
    "double pcall": "local function f() pcall(f) pcall(f) end f()",
    "nested pcall": "local function f() return pcall(f) end while true do f() end",
    "double pcall in a coroutine": """
        local function f() pcall(f) pcall(f) end
        coroutine.wrap(f)()""",
    "catch the end by hand": """
        local function again() local ok = pcall(function() while true do end end) return again() end
        return again()""",
    "error objects": """
        while true do pcall(error, setmetatable({}, {__tostring = function() while true do end end})) end""",
    "error rethrown": "while true do local ok, e = pcall(function() while true do end end) pcall(error, e) end",
    "caught host failure": "while true do pcall(broker.call, 'nothing', {}) end",
    "require in a loop": "while true do pcall(require, 'nothing') end",
}
COROUTINES = {
    "wrap loop": "coroutine.wrap(function() while true do end end)()",
    "create loop": "coroutine.resume(coroutine.create(function() while true do end end))",
    "resume loop": "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
    "nested": """
        local function f(n) return function() if n > 0 then coroutine.wrap(f(n - 1))() end while true do end end end
        coroutine.wrap(f(100))()""",
    "nested without end": "local function f() coroutine.wrap(f)() end f()",
    "bomb": "local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() end) end",
    "bomb of running ones": """
        local t = {}
        for i = 1, 1e9 do t[i] = coroutine.create(function() coroutine.yield() end) coroutine.resume(t[i]) end""",
    "ping-pong": "local c = coroutine.wrap(function() while true do coroutine.yield() end end) while true do c() end",
    "yield outside": "coroutine.yield(1)",
    "yield the token": "while true do coroutine.yield() end",
    "yield what has __eq": "coroutine.yield(setmetatable({}, {__eq = function() while true do end end}))",
    "yield what has __tostring": "coroutine.yield(setmetatable({}, {__tostring = function() while true do end end}))",
    "yield in pcall": "pcall(coroutine.yield, 1)",
    "yield in a sort": "table.sort({3, 2, 1}, function(a, b) coroutine.yield() return a < b end)",
    "yield in gsub": "('abc'):gsub('.', function() coroutine.yield() end)",
    "pcall in a coroutine": """
        coroutine.wrap(function() while true do pcall(function() while true do end end) end end)()""",
    "wrap of pcall": "local f = coroutine.wrap(pcall) f(function() while true do end end)",
    "resume itself": """
        local c
        c = coroutine.create(function() coroutine.resume(c) end)
        while true do coroutine.resume(c) end""",
    "dead ones": "local c = coroutine.create(error) while true do coroutine.resume(c) end",
    "running": "while true do coroutine.running() end",
    "close is gone": "if coroutine.close then return 'ESCAPED' end",
    "abandoned in pcall": """
        while true do coroutine.resume(coroutine.create(function() pcall(coroutine.yield) end)) end""",
}
LIBRARY = {
    "rep of nothing": "('').rep('', 1e15)",
    "rep": "('x'):rep(1e9)",
    "rep with a separator": "('x'):rep(1e7, ('y'):rep(1e6))",
    "rep overflow": "('xx'):rep(math.maxinteger)",
    "rep in a loop": "while true do local s = ('x'):rep(1e6) end",
    "move far": "table.move({}, 1, 2^53, 2)",
    "move around": "table.move({}, math.mininteger, math.maxinteger, 1)",
    "move a million": "while true do table.move({}, 1, 1000000, 1) end",
    "insert with __len": "table.insert(setmetatable({}, {__len = function() return 2^52 end}), 1, 1)",
    "remove with __len": "table.remove(setmetatable({}, {__len = function() return 2^52 end}), 1)",
    "sort with __len": "table.sort(setmetatable({}, {__len = function() return 2^30 end}))",
    "concat with __len": "table.concat(setmetatable({}, {__len = function() return 2^52 end}))",
    "unpack with __len": "table.unpack(setmetatable({}, {__len = function() return 2^52 end}))",
    "concat far": "table.concat({}, '', 1, 2^53)",
    "concat long separators": "table.concat({1, 2, 3}, ('x'):rep(8e6), 1, 3)",
    "unpack far": "table.unpack({}, 1, 1e8)",
    "unpack around": "table.unpack({}, math.mininteger, math.maxinteger)",
    "sort by C": "local t = {} for i = 1, 1e5 do t[i] = 1e5 - i end table.sort(t, rawequal)",
    "sort by a liar": "local t = {} for i = 1, 1e5 do t[i] = i end table.sort(t, function() return true end)",
    "sort by a looper": "table.sort({3, 2, 1}, function() while true do end end)",
    "sort with __lt": """
        local m = {__lt = function() while true do end end}
        table.sort({setmetatable({}, m), setmetatable({}, m)})""",
    "byte": "('x'):rep(1e6):byte(1, -1)",
    "char": "string.char(table.unpack({}, 1, 1e6))",
    "format width": "('%99999999d'):format(1)",
    "format many": "(('%s'):rep(1e5)):format()",
    "format __tostring": "('%s'):format(setmetatable({}, {__tostring = function() while true do end end}))",
    "format __name": "('%s'):format(setmetatable({}, {__name = ('x'):rep(1e6)}))",
    "pack": "string.pack(('!16i16'):rep(1e4), 1)",
    "unpack format": "string.unpack('s8', ('\\255'):rep(100))",
    "packsize": "string.packsize(('s1'):rep(1e6))",
    "utf8.char": "while true do utf8.char(1, 2, 3) end",
    "utf8.codes": "for _ in utf8.codes(('x'):rep(8e6)) do end while true do end",
    "utf8.offset": "while true do utf8.offset(('x'):rep(1e6), -1) end",
    "tonumber": "while true do tonumber(('1'):rep(1e5)) end",
    "upper": "while true do (('x'):rep(1e6)):upper() end",
    "reverse": "while true do (('x'):rep(1e6)):reverse() end",
    "date format": "os.date(('%c'):rep(1e6))",
    "date far": "os.date('*t', math.maxinteger)",
    "emptied table": """
        local t = {}
        for i = 1, 200000 do t[i] = i end
        for i = 1, 200000 do t[i] = nil end
        while true do next(t) end""",
    "concatenation": "local s = ('x'):rep(3e6) while true do local x = s .. 'y' end",
}
PATTERNS = {
    "stars": "local s = ('a'):rep(30) return s:find(('a*'):rep(30) .. 'b')",
    "question marks": "return (('a'):rep(29)):find(('a?'):rep(29) .. ('a'):rep(29))",
    "lazy": "return (('a'):rep(5000)):find(('.-'):rep(10) .. 'b')",
    "one star": "return (('a'):rep(1e6)):find('a*b')",
    "one plus": "return (('a'):rep(1e6)):find('a+b')",
    "gmatch": "for _ in (('a'):rep(1e5)):gmatch('a*b') do end",
    "gsub": "return (('a'):rep(1e5)):gsub('a*b', '')",
    "match anchored": "return (('a'):rep(1e4)):match('^a*a*a*a*b')",
    "balanced": "return (('('):rep(1e6)):find('%b()')",
    "frontier": "return (('a'):rep(1e6)):find('%f[%w]a*%f[%W]b')",
    "captures": "return (('a'):rep(1e4)):find('(a*)(a*)(a*)%1%2%3b')",
    "back reference": "return (('a'):rep(1e5)):find('(a*)%1b')",
    "sets": "return (('a'):rep(1e4)):find('[^b]*[^b]*[^b]*b')",
    "unclosed set": "return ('a'):find('[')",
    "unclosed class": "return ('a'):find('%')",
    "long": "return ('a'):find(('a'):rep(1e5) .. '.')",
    "plain": "local s = ('a'):rep(4e6) return (s .. s):find(s .. 'b', 1, true)",
    "plain by its pattern": "local s = ('a'):rep(2e6) return (s .. s):find(s .. 'b')",
    "gsub by a looper": "('abc'):gsub('.', function() while true do end end)",
    "gsub by __index": "('abc'):gsub('.', setmetatable({}, {__index = function() while true do end end}))",
    "gsub grows": "local s = 'x' while true do s = s:gsub('x', 'xx') end",
    "gsub large": "return (('x'):rep(1e6)):gsub('x', ('y'):rep(1e6))",
    "gsub %": "return ('x'):gsub('x', '%9')",
    "recursion": "return (('('):rep(1e4)):find(('('):rep(250))",
}
MEMORY = {
    "doubling": "local s = 'x' while true do s = s .. s end",
    "table": "local t = {} for i = 1, 1e12 do t[i] = i end",
    "tables": "local t = {} while true do t = {t} end",
    "strings": "local t = {} for i = 1, 1e12 do t[i] = ('x'):rep(1000) .. i end",
    "closures": "local t = {} for i = 1, 1e12 do t[i] = function() return i end end",
    "caught": "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end",
    "caught, then the host": """
        pcall(function() local t = {} for i = 1, 1e12 do t[i] = ('x'):rep(1000) .. i end end)
        return broker.call('large', {})""",
    "full, then the host": """
        local t, ok = {}, true
        local n = 1e5
        while n > 1 do
          ok = pcall(function() t[#t + 1] = ('x'):rep(n // 1) .. #t end)
          if not ok then n = n / 2 end
        end
        for i = 1, 100 do pcall(broker.call, 'large', {}) end""",
    "full, then json": """
        local t = {}
        pcall(function() while true do t[#t + 1] = ('x'):rep(1e4) .. #t end end)
        return t""",
    "thrash": """
        local t = {}
        pcall(function() while true do t[#t + 1] = {} end end)
        while true do pcall(function() local s = ('x'):rep(1e5) end) end""",
    "weak keys": "setmetatable({}, {__mode = 'k'})",
    "ephemerons late": """
        local m = {}
        local t = setmetatable({}, m)
        m.__mode = 'k'
        for i = 1, 1e9 do t[{}] = i end""",
    "globals": "for i = 1, 1e12 do _G['x' .. i] = ('x'):rep(1000) end",
    "many arguments": "local function f(...) return f(1, ...) end f()",
    "large result": "return ('x'):rep(8e6)",
    "deep result": "local t = {} for i = 1, 1e5 do t = {t} end return t",
    "result in itself": "local t = {} t.t = t return t",
    "wide result": "local t = {} for i = 1, 3e5 do t[i] = i end return t",
    "large error": "error(('x'):rep(7e6))",
    "large parameters": "return broker.call('echo', {text = ('x'):rep(4e6)})",
    "modules": "for i = 1, 1e12 do pcall(require, 'm' .. i) end",
}
METATABLES = {
    "__gc": "setmetatable({}, {__gc = function() while true do end end})",
    "__gc late": """
        local m = {}
        setmetatable({}, m)
        m.__gc = function() while true do end end
        for i = 1, 1e5 do local t = {} end""",
    "__gc known, changed": "local m = {__gc = false} setmetatable({}, m)",
    "__close": "local x <close> = setmetatable({}, {__close = function() while true do end end})",
    "__close after the end": """
        local x <close> = setmetatable({}, {__close = function() while true do end end})
        while true do end""",
    "__close nested": """
        local function f(n)
          local x <close> = setmetatable({}, {__close = function() while true do end end})
          if n > 0 then f(n - 1) end
        end
        f(150)""",
    "__close in a coroutine": """
        local c = coroutine.wrap(function()
          local x <close> = setmetatable({}, {__close = function() while true do end end})
          coroutine.yield()
        end)
        c()
        c()""",
    "__close throws": """
        local x <close> = setmetatable({}, {__close = function() error('again') end})
        while true do end""",
    "overflow in the hook": """
        local function f()
          local x <close> = setmetatable({}, {__close = function() while true do end end})
          f()
        end
        coroutine.wrap(function() f() end)()""",
    "_G __index": "setmetatable(_G, {__index = function() error('x') end}) return undefined",
    "_G __index loops": "setmetatable(_G, {__index = function() while true do end end}) return undefined",
    "_G __newindex": "setmetatable(_G, {__newindex = function() while true do end end}) x = 1",
    "fake debug": "debug = setmetatable({}, {__index = function() error('x') end})",
    "fake debug that loops": "debug = {traceback = function() while true do end end} error('x')",
    "fake string": "string = {format = function() while true do end end}",
    "fake broker": "broker = setmetatable({}, {__index = function() while true do end end}) return broker.x",
    "fake pcall": "pcall = function() while true do end end return 1",
    "__index chain": "local t = {} setmetatable(t, {__index = t}) return t.x",
    "__index that calls": "local t = setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}) return t.x",
    "__eq of a result": "return setmetatable({}, {__eq = function() while true do end end})",
    "__tostring of a result": "return setmetatable({}, {__tostring = function() while true do end end})",
    "__pairs of a result": "return setmetatable({}, {__pairs = function() while true do end end})",
    "__len of a result": "return setmetatable({1}, {__len = function() while true do end end})",
    "__index of a result": "return setmetatable({}, {__index = function() while true do end end})",
    "__name of an error": "error(setmetatable({}, {__name = 'x', __tostring = function() while true do end end}))",
    "__eq of an error": "error(setmetatable({}, {__eq = function() while true do end end}))",
    "__call": "setmetatable({}, {__call = function() while true do end end})()",
    "__call chain": "local t = {} for i = 1, 1e5 do t = setmetatable({}, {__call = t}) end t()",
    "__concat": "return setmetatable({}, {__concat = function() while true do end end}) .. 'x'",
    "__lt": "return setmetatable({}, {__lt = function() while true do end end}) < 1",
    "__metatable": "local t = setmetatable({}, {__metatable = 1}) return getmetatable(t)",
    "parameters with __index": """
        return broker.call('echo', setmetatable({}, {__index = function() while true do end end}))""",
    "parameters with __pairs": """
        return broker.call('echo', setmetatable({}, {__pairs = function() while true do end end}))""",
    "operation with __tostring": "return broker.call(setmetatable({}, {__tostring = function() return 'x' end}))",
    "print __tostring": "print(setmetatable({}, {__tostring = function() while true do end end}))",
}
RECURSION = {
    "plain": "local function f() return 1 + f() end f()",
    "caught": "local function f() return 1 + f() end while true do pcall(f) end",
    "gsub": "local function f() return (('x'):gsub('x', f)) end f()",
    "sort": "local function f() table.sort({2, 1}, f) return false end f()",
    "tostring": "local t t = setmetatable({}, {__tostring = function() return tostring(t) end}) tostring(t)",
    "metamethods": "local t t = setmetatable({}, {__add = function(a, b) return a + b end}) return t + 1",
    "require": "local function f() return require('words') and f() + 1 end f()",
    "json depth": "return broker.json.decode(('['):rep(1e5))",
    "json depth of objects": "return broker.json.decode(('{\"a\":'):rep(1e5))",
    "json garbage": "for i = 1, 1e9 do pcall(broker.json.decode, ('[1,'):rep(50) .. i) end",
}
ESCAPES = {
    "io": "if io then return 'ESCAPED' end",
    "os.execute": "if os.execute or os.getenv or os.remove or os.exit or os.tmpname then return 'ESCAPED' end",
    "package": "if package or module or loadlib then return 'ESCAPED' end",
    "debug": "if debug then return 'ESCAPED' end",
    "load": "if load or loadstring or dofile or loadfile then return 'ESCAPED' end",
    "string.dump": "if string.dump or ('').dump then return 'ESCAPED' end",
    "collectgarbage": "if collectgarbage then return 'ESCAPED' end",
    "python": "if python or lupa then return 'ESCAPED' end",
    "string metatable": "if getmetatable('') ~= nil then return 'ESCAPED' end",
    "host function": "if getmetatable(broker.call) ~= nil then return 'ESCAPED' end",
    "anything of Python's": """
        local seen = {}
        local function look(v)
          if type(v) == 'userdata' then return true end
          if type(v) ~= 'table' or seen[v] then return false end
          seen[v] = true
          for k, x in next, v do if look(k) or look(x) then return true end end
          local m = getmetatable(v)
          return type(m) == 'table' and look(m)
        end
        if look(_G) then return 'ESCAPED' end""",
    "an error of the host's": """
        local ok, e = pcall(broker.call, 'raises', {})
        if ok or type(e) ~= 'string' or e:find('/') or e:find('Traceback') then return 'ESCAPED' end""",
    "attributes": "pcall(function() return broker.call.__globals__ end)",
    "bytecode by require": "if pcall(require, 'compiled') then return 'ESCAPED' end",
    "module outside": "if pcall(require, '..secret') or pcall(require, '../secret') then return 'ESCAPED' end",
    "module by a path": "if pcall(require, '/etc/passwd') or pcall(require, 'a/b') then return 'ESCAPED' end",
    "module by a link": "if pcall(require, 'linked') then return 'ESCAPED' end",
    "module that is no file": "if pcall(require, 'pipe') or pcall(require, 'folder') then return 'ESCAPED' end",
    "module name as a table": "pcall(require, setmetatable({}, {__tostring = function() return 'words' end}))",
    "registering late": "broker.tool({name = 'late', run = function() end})",
    "null": "broker.json.null.x = 1",
    "array's metatable": """
        local m = getmetatable(broker.json.array({}))
        if type(m) == 'table' then return 'ESCAPED' end""",
    "the words of the host": "return broker.call('require', {})",
    "print as a host": "return broker.call('print', {})",
    "upvalues": "if debug or (string.gmatch and pcall(string.gmatch, nil)) then return 'ESCAPED' end",
    "environment": "local _ENV = {} return _VERSION",
    "invalid UTF-8": "return '\\255\\254'",
    "invalid UTF-8 in an error": "error('\\255\\254')",
    "not a number": "return 0/0",
    "infinite": "return math.huge",
    "a function": "return print",
    "a coroutine": "return coroutine.create(print)",
    "a key that is a table": "return {[{}] = 1}",
    "a key that is a boolean": "return {[true] = 1}",
    "a false result": "return {content = 'x'}",
    "a lying result": "return {content = {{type = 'no such type'}}}",
    "a zero byte": "return {['a\\0b'] = '\\0'}",
}

CLASSES = {
    "loop": LOOPS,
    "catching": CATCHING,
    "coroutine": COROUTINES,
    "library": LIBRARY,
    "pattern": PATTERNS,
    "memory": MEMORY,
    "metatable": METATABLES,
    "recursion": RECURSION,
    "escape": ESCAPES,
}
