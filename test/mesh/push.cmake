# What is pushed between peers, and what one peer may do to another.
foreach(name guard push_wire)
  km_add_test(mesh_${name}_test SOURCES ${name}_test.c)
endforeach()
km_add_fuzzer(fuzz_push fuzz_push.c CORPUS corpus/push)

# Entries, messages and statements between whole nodes over loopback sockets.
foreach(name attack bounds data data_hostile)
  km_add_test(mesh_${name}_test SOURCES ${name}_test.c mesh_lab.c LABELS integration TIMEOUT 600)
endforeach()
