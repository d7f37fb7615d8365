# The daemon: requests over a store in memory, lines of the control socket, the hook; and whole
# nodes on loopback.
km_add_test(cmd_request_test SOURCES ${here}/request_test.c)
km_add_test(cmd_control_test SOURCES ${here}/control_test.c)
km_add_test(cmd_line_queue_test SOURCES ${here}/line_queue_test.c LABELS cmd)
km_add_test(cmd_hook_test SOURCES ${here}/hook_test.c LABELS cmd)
foreach(test cmd_request_test cmd_control_test cmd_hook_test cmd_line_queue_test)
  if(TARGET ${test})
    target_link_libraries(${test} PRIVATE km_node_daemon)
  endif()
endforeach()

km_add_fuzzer(fuzz_request ${here}/fuzz_request.c CORPUS ${here}/corpus/request)
if(TARGET fuzz_request)
  target_link_libraries(fuzz_request PRIVATE km_node_daemon)
endif()

foreach(name daemon daemon_control daemon_hook daemon_mesh)
  km_add_script_test(cmd_${name} COMMAND ${KM_PYTHON3} -B ${here}/${name}_test.py
    LABELS cmd TIMEOUT 300)
endforeach()
