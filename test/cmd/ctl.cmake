# The commands that ask a node, and the shell.
km_add_test(cmd_words_test SOURCES ${here}/words_test.c)
km_add_test(cmd_when_test SOURCES ${here}/when_test.c)
km_add_test(cmd_keys_test SOURCES ${here}/keys_test.c)
km_add_test(cmd_shell_test SOURCES ${here}/shell_test.c)
foreach(test cmd_words_test cmd_when_test cmd_keys_test cmd_shell_test)
  if(TARGET ${test} AND TARGET km_node_ctl)
    target_link_libraries(${test} PRIVATE km_node_ctl)
  endif()
endforeach()

km_add_fuzzer(fuzz_shell_line ${here}/fuzz_shell_line.c CORPUS ${here}/corpus/shell_line)
if(TARGET fuzz_shell_line AND TARGET km_node_ctl)
  target_link_libraries(fuzz_shell_line PRIVATE km_node_ctl)
endif()

foreach(name ctl ctl_daemon peer_config shell stop)
  km_add_script_test(cmd_${name} COMMAND ${KM_PYTHON3} -B ${here}/${name}_test.py
    LABELS cmd TIMEOUT 300)
endforeach()
