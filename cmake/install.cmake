# What a user gets: the static library, the headers, a CMake package and a pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS ambit EXPORT ambitTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(NOT ambit_schedule)
  set(ambit_no_header PATTERN "schedule*" EXCLUDE)
endif()
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} ${ambit_no_header})
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

if(ambit_schedule)
  install(TARGETS ambit_schedule EXPORT ambitTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES cmake/AmbitSchedule.cmake ${ambit_schedule_link_file} DESTINATION ${ambit_package})
  set(ambit_schedule_pc_libs "-ldw -lpthread")
  if(CMAKE_DL_LIBS)
    string(APPEND ambit_schedule_pc_libs " -l${CMAKE_DL_LIBS}")
  endif()
  ambit__schedule_flags(ambit_schedule_pc_flags)
  list(APPEND ambit_schedule_pc_flags -fno-lto) # gcc would forget -fsanitize=thread when it links
  list(JOIN ambit_schedule_pc_flags " " ambit_schedule_pc_flags)
  configure_file(cmake/ambit-schedule.pc.in ${PROJECT_BINARY_DIR}/ambit-schedule.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/ambit-schedule.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
