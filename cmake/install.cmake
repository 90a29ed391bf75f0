# What a user gets: the static library, the headers, a CMake package and a pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS ambit EXPORT ambitTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(ambit_package ${CMAKE_INSTALL_LIBDIR}/cmake/ambit)
install(EXPORT ambitTargets NAMESPACE ambit:: DESTINATION ${ambit_package})
configure_package_config_file(cmake/ambitConfig.cmake.in ${PROJECT_BINARY_DIR}/ambitConfig.cmake
                              INSTALL_DESTINATION ${ambit_package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ambitConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ambitConfig.cmake ${PROJECT_BINARY_DIR}/ambitConfigVersion.cmake
        DESTINATION ${ambit_package})
# The prefix is told from where the file lies, so that `cmake --install --prefix` and a moved tree are
# right as well.
file(RELATIVE_PATH ambit_pc_up ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" ambit_pc_up "${ambit_pc_up}")
configure_file(cmake/ambit.pc.in ${PROJECT_BINARY_DIR}/ambit.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/ambit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
