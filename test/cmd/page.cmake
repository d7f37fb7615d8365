# The status page: who may ask, what is answered, and the page itself in a browser.
if(NOT TARGET km_node_page OR NOT TARGET km_node_daemon)
  return()
endif()
km_add_test(cmd_page_check_test SOURCES page_check_test.c)
target_link_libraries(cmd_page_check_test PRIVATE km_node_page)
km_add_test(cmd_page_history_test SOURCES page_history_test.c)
target_link_libraries(cmd_page_history_test PRIVATE km_node_page)

# A node with a page and a friend that comes and goes.
add_executable(page_node page_node.c)
set_target_properties(page_node PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/test)
target_link_libraries(page_node PRIVATE km_flags km_node_page km_node_daemon)

km_add_script_test(cmd_page COMMAND ${KM_PYTHON3} -B ${here}/page_test.py LABELS cmd TIMEOUT 300)
km_add_script_test(cmd_page_browser COMMAND ${KM_PYTHON3} -B ${here}/page_browser_test.py
  LABELS cmd TIMEOUT 600)
km_add_script_test(cmd_page_mesh COMMAND ${KM_PYTHON3} -B ${here}/page_mesh_test.py
  LABELS cmd TIMEOUT 600)
