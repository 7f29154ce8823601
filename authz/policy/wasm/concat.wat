;; `concat` of a set in the order of its elements; OPA's own WebAssembly runtime takes them as they are hashed.
(module
  (import "runtime" "opa_array_with_cap" (func $array (param i32) (result i32)))
  (import "runtime" "opa_array_append" (func $append (param i32 i32)))
  (import "runtime" "opa_value_iter" (func $iter (param i32 i32) (result i32)))
  (import "runtime" "opa_strings_concat" (func $concat (param i32 i32) (result i32)))

  (func (param $with i32) (param $of i32) (result i32)
    (local $list i32) (local $at i32)
    (if (i32.eqz (local.get $of)) (then (return (i32.const 0))))
    (if (i32.eq (i32.load8_u (local.get $of)) (i32.const 7))
      (then
        (local.set $list (call $array (i32.load offset=12 (local.get $of))))
        (loop $elements
          (local.set $at (call $iter (local.get $of) (local.get $at)))
          (if (local.get $at)
            (then
              (call $append (local.get $list) (local.get $at))
              (br $elements))))
        (local.set $of (local.get $list))))
    (call $concat (local.get $with) (local.get $of))))
