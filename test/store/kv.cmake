# Entries and the store they are kept in.
foreach(name hlc entry kv kv_apply kv_full kv_inside kv_memory)
  km_add_test(store_${name}_test SOURCES ${name}_test.c)
endforeach()
km_add_test(store_kv_crash_test SOURCES kv_crash_test.c TIMEOUT 300)
km_add_fuzzer(fuzz_entry fuzz_entry.c CORPUS corpus/entry)
