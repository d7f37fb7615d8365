# The peer protocol and the mesh's core: frames, sessions, back-off, who is let in, links.
foreach(name backoff control session)
  km_add_test(mesh_${name}_test SOURCES ${name}_test.c)
endforeach()
km_add_fuzzer(fuzz_control fuzz_control.c CORPUS corpus/control)

# Whole meshes over loopback sockets.
foreach(name gate link refusal duplicate hostile words)
  km_add_test(mesh_${name}_test SOURCES ${name}_test.c mesh_lab.c LABELS integration TIMEOUT 600)
endforeach()

# The example.
find_program(KM_PYTHON3 python3)
if(KM_PYTHON3 AND TARGET mesh_node)
  km_add_script_test(mesh_example_test
    COMMAND ${KM_PYTHON3} -B ${CMAKE_CURRENT_LIST_DIR}/example_test.py TIMEOUT 300)
endif()
