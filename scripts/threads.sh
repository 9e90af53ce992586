# For other scripts to source: threads that wait for each other sleep. By default they spin, and where other work runs they take the
# processors from those that they wait for: a step of the demo then takes ten times as long. What is set already stays.
# torch on Linux comes with libgomp, whose threads read both; GOMP_SPINCOUNT makes even a short wait a sleep. Builds with Intel's
# or LLVM's library read KMP_BLOCKTIME (milliseconds before a thread sleeps).
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-0}"
export KMP_BLOCKTIME="${KMP_BLOCKTIME:-0}"
