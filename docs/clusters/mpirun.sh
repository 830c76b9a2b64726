#!/bin/sh
# One host per rank, inside any allocation that has mpirun (Open MPI):
#   prealloc run plan/ --worker my_agent:solve --engine hosts --hosts 8 --listen 0.0.0.0:7000
#   mpirun -n 8 ./mpirun.sh /home/me/join
# mpirun ends all ranks when one of them fails, so a lost host costs all of them; `prealloc resume` then runs the rest.
exec prealloc host --with-parent --join "$1/host-$((OMPI_COMM_WORLD_RANK + 1)).json"
