;; The smallest plugin in WebAssembly: JSON in, JSON out. `plugin.wasm` is made of this by any `wat2wasm`.
(module
  (memory (export "memory") 2)
  (global $next (mut i32) (i32.const 8192))

  (data (i32.const 16) "\"op\":\"tools/list\"")
  (data (i32.const 48) "\"op\":\"tools/call\"")
  (data (i32.const 80) "\"name\":")
  (data (i32.const 256) "{\"result\":{\"tools\":[{\"name\":\"greet\",\"description\":\"Says hello\",\"inputSchema\":{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":100}},\"required\":[\"name\"],\"additionalProperties\":false}}]}}")
  (data (i32.const 512) "{\"error\":{\"code\":\"unknown-op\"}}")
  (data (i32.const 576) "{\"result\":\"Hello, ")
  (data (i32.const 608) ", from greet-wasm\"}")

  (func (export "protocol_version") (result i32) (i32.const 1))

  ;; Room for a request: whatever comes, two pages are all there is.
  (func (export "alloc") (param $size i32) (result i32) (local $at i32)
    (local.set $at (global.get $next))
    (if (i32.gt_u (local.get $size) (i32.sub (i32.const 131072) (local.get $at))) (then (return (i32.const 0))))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  (func $answer (param $at i32) (param $size i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32)) (i64.extend_i32_u (local.get $size))))

  (func $same (param $one i32) (param $other i32) (param $size i32) (result i32)
    (loop $next
      (if (i32.eqz (local.get $size)) (then (return (i32.const 1))))
      (local.set $size (i32.sub (local.get $size) (i32.const 1)))
      (br_if $next (i32.eq
        (i32.load8_u (i32.add (local.get $one) (local.get $size)))
        (i32.load8_u (i32.add (local.get $other) (local.get $size))))))
    (i32.const 0))

  ;; Where a text ends that stands last between $at and $end; 0: nowhere.
  (func $after (param $at i32) (param $end i32) (param $text i32) (param $size i32) (result i32)
    (local.set $end (i32.sub (local.get $end) (local.get $size)))
    (loop $next
      (if (i32.lt_s (local.get $end) (local.get $at)) (then (return (i32.const 0))))
      (if (call $same (local.get $end) (local.get $text) (local.get $size))
        (then (return (i32.add (local.get $end) (local.get $size)))))
      (local.set $end (i32.sub (local.get $end) (i32.const 1)))
      (br $next))
    (unreachable))

  (func (export "handle") (param $at i32) (param $size i32) (result i64) (local $end i32) (local $name i32) (local $n i32)
    (local.set $end (i32.add (local.get $at) (local.get $size)))
    (if (call $after (local.get $at) (local.get $end) (i32.const 16) (i32.const 17))
      (then (return (call $answer (i32.const 256) (i32.const 203)))))
    (if (i32.eqz (call $after (local.get $at) (local.get $end) (i32.const 48) (i32.const 17)))
      (then (return (call $answer (i32.const 512) (i32.const 31)))))
    (local.set $name (call $after (local.get $at) (local.get $end) (i32.const 80) (i32.const 7)))
    (loop $space
      (local.set $name (i32.add (local.get $name) (i32.const 1)))
      (br_if $space (i32.ne (i32.load8_u (i32.sub (local.get $name) (i32.const 1))) (i32.const 34))))
    ;; To the quote that ends it; what is escaped stays so, because the answer is JSON, too.
    (loop $next
      (if (i32.eq (i32.load8_u (i32.add (local.get $name) (local.get $n))) (i32.const 92))
        (then (local.set $n (i32.add (local.get $n) (i32.const 2))) (br $next)))
      (if (i32.ne (i32.load8_u (i32.add (local.get $name) (local.get $n))) (i32.const 34))
        (then (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $next))))
    (memory.copy (i32.const 1024) (i32.const 576) (i32.const 18))
    (memory.copy (i32.const 1042) (local.get $name) (local.get $n))
    (memory.copy (i32.add (i32.const 1042) (local.get $n)) (i32.const 608) (i32.const 19))
    (call $answer (i32.const 1024) (i32.add (local.get $n) (i32.const 37)))))
