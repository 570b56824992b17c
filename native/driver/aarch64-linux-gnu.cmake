# Cross-compile for 64-bit ARM under Linux, with Debian's g++-aarch64-linux-gnu:
#   cmake -S native -B build-arm -DUNVEIL_DRIVER=ON \
#     -DCMAKE_TOOLCHAIN_FILE=native/driver/aarch64-linux-gnu.cmake
#   cmake --build build-arm && qemu-aarch64 -L /usr/aarch64-linux-gnu build-arm/unveil_check
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
