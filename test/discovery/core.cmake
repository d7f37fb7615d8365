# A km_discovery, the sources that come with it (memory, file, cache), and the database below.
foreach(name id_map said lookup watch db state peer_file file_source cache)
  km_add_test(discovery_${name}_test SOURCES ${name}_test.c)
endforeach()
target_link_libraries(discovery_db_test PRIVATE km_dep::sqlite)
