;; `concat` of a set in the order of its elements; OPA's own WebAssembly runtime takes them as they are hashed.
;; The old function gets an array of them. Offsets are those of wasm/src/value.h of OPA:
;;     opa_array_t  type@0:u8 elems@4 len@8 cap@12     element  index@0 (not read here) v@4
(module
  (import "runtime" "opa_malloc" (func $malloc (param i32) (result i32)))
  (import "runtime" "opa_value_iter" (func $iter (param i32 i32) (result i32)))
  (import "runtime" "opa_strings_concat" (func $concat (param i32 i32) (result i32)))

  (func (param $with i32) (param $of i32) (result i32)
    (local $array i32) (local $elem i32) (local $at i32) (local $count i32)
    (if (i32.eqz (local.get $of)) (then (return (i32.const 0))))
    (if (i32.eq (i32.load8_u (local.get $of)) (i32.const 7))
      (then
        (local.set $count (i32.load offset=12 (local.get $of)))
        (local.set $array (call $malloc (i32.const 16)))
        (local.set $elem (call $malloc (i32.shl (i32.add (local.get $count) (i32.const 1)) (i32.const 3))))
        (i32.store8 (local.get $array) (i32.const 5))
        (i32.store offset=4 (local.get $array) (local.get $elem))
        (i32.store offset=8 (local.get $array) (local.get $count))
        (i32.store offset=12 (local.get $array) (local.get $count))
        (loop $elements
          (local.set $at (call $iter (local.get $of) (local.get $at)))
          (if (local.get $at)
            (then
              (i32.store (local.get $elem) (i32.const 0))
              (i32.store offset=4 (local.get $elem) (local.get $at))
              (local.set $elem (i32.add (local.get $elem) (i32.const 8)))
              (br $elements))))
        (local.set $of (local.get $array))))
    (call $concat (local.get $with) (local.get $of))))
