# cmake --install and cpack.

include(CMakePackageConfigHelpers)

install(TARGETS keymesh keymesh_static EXPORT KeyMeshTargets
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(layer IN LISTS KM_LAYERS)
  if(IS_DIRECTORY ${PROJECT_SOURCE_DIR}/${layer}/include)
    install(DIRECTORY ${layer}/include/keymesh DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  endif()
endforeach()
get_property(km_programs GLOBAL PROPERTY KM_PROGRAMS)
if(km_programs)
  install(TARGETS ${km_programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
file(GLOB km_man_pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.1)
install(FILES ${km_man_pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
file(GLOB km_man_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.5)
install(FILES ${km_man_files} DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Relative, so that it holds wherever the tree is installed or packaged to.
file(RELATIVE_PATH KM_PC_TO_PREFIX
  /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(third_party/cmake/keymesh.pc.in keymesh.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/keymesh.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(km_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/KeyMesh)
configure_package_config_file(third_party/cmake/KeyMeshConfig.cmake.in KeyMeshConfig.cmake
  INSTALL_DESTINATION ${km_package_dir})
write_basic_package_version_file(KeyMeshConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT KeyMeshTargets NAMESPACE KeyMesh:: DESTINATION ${km_package_dir})
install(FILES
  ${PROJECT_BINARY_DIR}/KeyMeshConfig.cmake ${PROJECT_BINARY_DIR}/KeyMeshConfigVersion.cmake
  DESTINATION ${km_package_dir})

set(CPACK_PACKAGE_NAME keymesh)
set(CPACK_PACKAGE_VENDOR "KeyMesh authors")
set(CPACK_PACKAGE_CONTACT "KeyMesh authors <keymesh@invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "dial a public key: QUIC connections to Ed25519 identities")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# keymesh.pc names them, and pkg-config wants to see them whether or not they are linked.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libsodium-dev, libuv1-dev, libsqlite3-dev, libcjson-dev")
if(km_with_miniupnpc)
  string(APPEND CPACK_DEBIAN_PACKAGE_DEPENDS ", libminiupnpc-dev")
endif()
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "pkg-config")
set(CPACK_STRIP_FILES ON)
include(CPack)
