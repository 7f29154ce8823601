;; Iterates sets and objects in the order of their keys, as OPA does; OPA's own WebAssembly runtime iterates
;; them as they are hashed, so that [x | some x in {"b", "a"}] would come out otherwise.
;;
;; $iter replaces `opa_value_iter`. The keys of a node are collected and sorted when its iteration begins, and
;; kept in one of 256 slots { node, keys, count, last }, each a u32, behind a head of 16 bytes whose first u32
;; is where the heap of this evaluation begins: what lies below it is data, which never changes. The host
;; clears the slots before every evaluation. Offsets are those of wasm/src/value.h of OPA:
;;     opa_object_t, opa_set_t   type@0:u8 buckets@4 n@8 len@12
;;     elements                  object: k@0 v@4 next@8     set: v@0 next@4
(module
  (import "runtime" "opa_malloc" (func $malloc (param i32) (result i32)))
  (import "runtime" "opa_value_compare" (func $compare (param i32 i32) (result i32)))
  (import "runtime" "opa_value_iter" (func $array_iter (param i32 i32) (result i32)))
  (import "runtime" "table" (global $table i32))

  (func $iter (param $node i32) (param $prev i32) (result i32)
    (local $kind i32) (local $slot i32) (local $keys i32) (local $count i32) (local $at i32)
    (if (i32.eqz (local.get $node)) (then (return (i32.const 0))))
    (local.set $kind (i32.load8_u (local.get $node)))
    (if (i32.and (i32.ne (local.get $kind) (i32.const 6)) (i32.ne (local.get $kind) (i32.const 7)))
      (then (return (call $array_iter (local.get $node) (local.get $prev)))))
    (local.set $count (i32.load offset=12 (local.get $node)))
    (if (i32.eqz (local.get $count)) (then (return (i32.const 0))))
    (local.set $slot (i32.add (i32.add (global.get $table) (i32.const 16))
      (i32.shl (i32.and (i32.shr_u (local.get $node) (i32.const 3)) (i32.const 255)) (i32.const 4))))
    (if (i32.or
          (i32.ne (i32.load (local.get $slot)) (local.get $node))
          (i32.and (i32.eqz (local.get $prev))
                   (i32.ge_u (local.get $node) (i32.load (global.get $table)))))
      (then
        (local.set $keys (call $malloc (i32.shl (local.get $count) (i32.const 2))))
        (drop (call $collect (local.get $node) (local.get $keys)))
        (drop (call $sort (local.get $keys) (local.get $count)))
        (i32.store (local.get $slot) (local.get $node))
        (i32.store offset=4 (local.get $slot) (local.get $keys))
        (i32.store offset=8 (local.get $slot) (local.get $count))
        (i32.store offset=12 (local.get $slot) (i32.const 0)))
      (else (local.set $keys (i32.load offset=4 (local.get $slot)))))
    (if (local.get $prev)
      (then
        (local.set $at (i32.load offset=12 (local.get $slot)))
        (if (i32.ne (call $key (local.get $keys) (local.get $at)) (local.get $prev))
          (then ;; another iteration over the same node is under way
            (local.set $at (i32.const 0))
            (block $found
              (loop $next
                (br_if $found (i32.eq (call $key (local.get $keys) (local.get $at)) (local.get $prev)))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br_if $next (i32.lt_u (local.get $at) (local.get $count)))
                (unreachable)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))))
    (if (i32.ge_u (local.get $at) (local.get $count)) (then (return (i32.const 0))))
    (i32.store offset=12 (local.get $slot) (local.get $at))
    (call $key (local.get $keys) (local.get $at)))

  (func $key (param $keys i32) (param $at i32) (result i32)
    (i32.load (i32.add (local.get $keys) (i32.shl (local.get $at) (i32.const 2)))))

  ;; Pointers to the node's keys, as they are hashed, into `keys`.
  (func $collect (param $node i32) (param $keys i32) (result i32)
    (local $bucket i32) (local $end i32) (local $elem i32) (local $set i32)
    (local.set $set (i32.eq (i32.load8_u (local.get $node)) (i32.const 7)))
    (local.set $bucket (i32.load offset=4 (local.get $node)))
    (local.set $end (i32.add (local.get $bucket)
      (i32.shl (i32.load offset=8 (local.get $node)) (i32.const 2))))
    (loop $buckets
      (if (i32.lt_u (local.get $bucket) (local.get $end))
        (then
          (local.set $elem (i32.load (local.get $bucket)))
          (loop $elements
            (if (local.get $elem)
              (then
                (i32.store (local.get $keys) (i32.load (local.get $elem)))
                (local.set $keys (i32.add (local.get $keys) (i32.const 4)))
                (local.set $elem
                  (if (result i32) (local.get $set)
                    (then (i32.load offset=4 (local.get $elem)))
                    (else (i32.load offset=8 (local.get $elem)))))
                (br $elements))))
          (local.set $bucket (i32.add (local.get $bucket) (i32.const 4)))
          (br $buckets))))
    (i32.const 0))

  ;; Heapsort: OPA's runtime sorts by insertion, which takes a second for 10,000 keys.
  (func $sort (param $keys i32) (param $count i32) (result i32)
    (local $start i32) (local $end i32) (local $root i32) (local $child i32)
    (local.set $start (i32.shr_u (local.get $count) (i32.const 1)))
    (local.set $end (local.get $count))
    (loop $outer
      (if (local.get $start)
        (then (local.set $start (i32.sub (local.get $start) (i32.const 1))))
        (else
          (local.set $end (i32.sub (local.get $end) (i32.const 1)))
          (if (i32.le_s (local.get $end) (i32.const 0)) (then (return (i32.const 0))))
          (drop (call $swap (local.get $keys)
            (i32.add (local.get $keys) (i32.shl (local.get $end) (i32.const 2)))))))
      (local.set $root (local.get $start))
      (loop $sift
        (local.set $child (i32.add (i32.shl (local.get $root) (i32.const 1)) (i32.const 1)))
        (if (i32.lt_u (local.get $child) (local.get $end))
          (then
            (if (i32.lt_u (i32.add (local.get $child) (i32.const 1)) (local.get $end))
              (then
                (if (i32.lt_s (call $compare (call $key (local.get $keys) (local.get $child))
                      (call $key (local.get $keys) (i32.add (local.get $child) (i32.const 1)))) (i32.const 0))
                  (then (local.set $child (i32.add (local.get $child) (i32.const 1)))))))
            (if (i32.lt_s (call $compare (call $key (local.get $keys) (local.get $root))
                  (call $key (local.get $keys) (local.get $child))) (i32.const 0))
              (then
                (drop (call $swap
                  (i32.add (local.get $keys) (i32.shl (local.get $root) (i32.const 2)))
                  (i32.add (local.get $keys) (i32.shl (local.get $child) (i32.const 2)))))
                (local.set $root (local.get $child))
                (br $sift))))))
      (br $outer))
    (unreachable))

  (func $swap (param $one i32) (param $two i32) (result i32)
    (local $kept i32)
    (local.set $kept (i32.load (local.get $one)))
    (i32.store (local.get $one) (i32.load (local.get $two)))
    (i32.store (local.get $two) (local.get $kept))
    (i32.const 0)))
