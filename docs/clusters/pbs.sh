#!/bin/sh
# Eight hosts as an array job of PBS. First, where the nodes can reach it:
#   prealloc run plan/ --worker my_agent:solve --engine hosts --hosts 8 --listen 0.0.0.0:7000
# It prints a folder of join files; copy it to where the nodes see it, readable by you alone. Then:
#   qsub -v JOIN=/home/me/join pbs.sh
#PBS -N prealloc-hosts
#PBS -J 1-8
#PBS -r n
#PBS -l select=1:ncpus=2:mem=4gb
#PBS -l walltime=04:00:00
cd "$PBS_O_WORKDIR" || exit 1
exec prealloc host --with-parent --join "$JOIN/host-$PBS_ARRAY_INDEX.json"
