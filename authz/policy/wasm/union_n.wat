;; `object.union_n` as OPA has it: of no objects it is an empty one, and what is no array is an error. OPA's own
;; WebAssembly runtime fails for the first and takes the values of an object for the second.
(module
  (import "runtime" "opa_object" (func $object (result i32)))
  (import "runtime" "builtin_object_union_n" (func $union_n (param i32) (result i32)))

  (func (param $of i32) (result i32)
    (if (i32.eqz (local.get $of)) (then (return (i32.const 0))))
    (if (i32.ne (i32.load8_u (local.get $of)) (i32.const 5)) (then (return (i32.const 0))))
    (if (i32.eqz (i32.load offset=8 (local.get $of))) (then (return (call $object))))
    (call $union_n (local.get $of))))
