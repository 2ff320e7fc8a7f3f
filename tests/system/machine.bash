# What boots a Debian with a real systemd, runs the checks in it, and counts what came of them.
# Sourced by whoever needs a machine. It wants `top`, `cache` and `work` to be set; `passed` and
# `failed` are its books.
#
# A machine is a container of systemd-nspawn with a network of its own, on a fresh copy of a cached
# root (see `root`). Its checks write a line each to RESULTS; see inside/main.

passed=0
failed=0
# The processes of the machines that run, by name, and when each was switched on.
declare -A running began

# What the machines have of the control groups: a group of their own for each, below ours. Two of them
# in one would take each other's services for their own, and kill them.
group=sleepingd-${work##*/}

# However a run ends, no machine stays behind: timeout passes SIGTERM on, and kills what ignores it.
# shellcheck disable=SC2317,SC2329 # the trap calls it
leave() {
    local process
    for process in "${running[@]}"; do kill "$process" 2>/dev/null && wait "$process"; done || true
    find "${trees[@]}" -depth -type d -path "*/$group-*" -exec rmdir {} + 2>/dev/null || true
    rm -rf "$work"
}

# The hierarchies in which systemd keeps its units; a pure and a hybrid host have other ones.
trees=()
for tree in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    if [[ -e $tree/cgroup.procs ]]; then trees+=("$tree"); fi
done

# enter_group NAME: puts the calling shell there.
enter_group() {
    local tree ours
    for tree in "${trees[@]}"; do
        case $tree in
        */systemd) ours=$(sed -n 's/^[0-9]*:name=systemd://p' /proc/self/cgroup) ;;
        *) ours=$(sed -n 's/^0:://p' /proc/self/cgroup) ;;
        esac
        mkdir "$tree$ours/$1"
        echo "$BASHPID" >"$tree$ours/$1/cgroup.procs"
    done
}

# leave_nothing_behind: cleans up at the end, and at signals.
leave_nothing_behind() {
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# new_machine ROOT DIRECTORY PATTERN: a copy of the root, with the checks that have the pattern.
new_machine() {
    local machine=$2
    cp -a --reflink=auto "$1" "$machine"
    mkdir -p "$machine/var/lib/sleepingd-tests" "$machine/var/log/journal"
    cp -r "$top/tests/system/inside" "$machine/opt/sleepingd-tests"
    printf "PATTERN='%s'\n" "$3" >"$machine/opt/sleepingd-tests/arguments"
    install -m 644 "$top/tests/system/inside/sleepingd-tests.service" "$machine/etc/systemd/system/"
    systemctl --quiet --root="$machine" enable sleepingd-tests.service
    # The checks count lines, so journald must not leave any out.
    mkdir -p "$machine/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\n' \
        >"$machine/etc/systemd/journald.conf.d/all.conf"
}

# install_program BIN MACHINE: the program and its units, without a package.
install_program() {
    local bin=$1 machine=$2
    install -m 755 "$bin/sleepingd" "$bin/sleepingctl" "$machine/usr/bin/"
    install -m 644 "$top"/systemd/sleepingd.service "$top"/systemd/sleepingd-sockets.target \
        "$machine/usr/lib/systemd/system/"
    install -D -m 644 "$top"/systemd/user/sleepingd* -t "$machine/usr/lib/systemd/user/"
    install -D -m 644 "$top"/systemd/libpod-.scope.d/* \
        -t "$machine/usr/lib/systemd/system/libpod-.scope.d/"
    local scope
    for scope in libpod podman; do
        install -D -m 644 "$top/systemd/user/$scope-.scope.d"/* \
            -t "$machine/usr/lib/systemd/user/$scope-.scope.d/"
    done
    install -D -m 755 "$bin/sleepingd-generator" -t "$machine/usr/lib/systemd/system-generators/"
    mkdir -p "$machine/usr/lib/systemd/user-generators"
    ln -s ../system-generators/sleepingd-generator "$machine/usr/lib/systemd/user-generators/"
    install -D -m 644 "$top/systemd/sleepingd.catalog" -t "$machine/usr/lib/systemd/catalog/"
}

# boot NAME MACHINE LIMIT UNIFIED [OPTION...]: switches a machine on, and returns at once. It is
# switched off after LIMIT seconds if it has not done so itself. UNIFIED as nspawn has it, or empty
# for the host's; the options are nspawn's.
boot() {
    local name=$1 machine=$2 limit=$3 unified=$4
    shift 4
    began[$name]=$EPOCHSECONDS
    # Not registered, in no scope of its own: the host need not run systemd.
    (
        enter_group "$group-$name"
        exec env ${unified:+SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=$unified} \
            timeout --kill-after=20 "$limit" \
            systemd-nspawn --quiet --register=no --keep-unit --private-network "$@" \
            --directory="$machine" --machine="sleepingd-$name" --boot
    ) </dev/null >"$work/$name.boot.log" 2>&1 &
    running[$name]=$!
}

# off NAME MACHINE: waits for the end of a machine, and counts its results.
off() {
    local name=$1 machine=$2 status=0
    echo "== $name"
    # Waited for as a job, since a signal to this script would else wait for the machine.
    wait "${running[$name]}" || status=$?
    unset "running[$name]"
    judge "$name" "$machine" "$status"
    # Its last word was said when it was off, however much later that is looked at.
    local ended
    ended=$(stat --format=%Y "$work/$name.boot.log")
    echo "($((ended - ${began[$name]})) s from switching on to off)"
    rm -rf "$machine"
}

# judge NAME MACHINE STATUS: prints and counts what the machine left behind.
judge() {
    local name=$1 machine=$2 status=$3 before=$failed
    local results=$machine/var/lib/sleepingd-tests/results
    touch "$results"
    judge_the_end "$results"
    if ! grep -qx end "$results"; then
        echo "not ok the_machine_ran_to_its_end: systemd-nspawn exited with $status" >>"$results"
        tail -n 40 "$work/$name.boot.log" | sed 's/^/    /' >>"$results"
    fi
    grep -Evx 'end|at the end .*' "$results" || true
    passed=$((passed + $(grep -c '^ok ' "$results" || true)))
    failed=$((failed + $(grep -c '^not ok ' "$results" || true)))
    if ((failed > before)) || [[ -n ${SLEEPINGD_TEST_KEEP:-} ]]; then
        rm -rf "$cache/last/$name"
        mkdir -p "$cache/last/$name"
        cp -r "$results" "$work/$name.boot.log" "$machine/var/log/journal" "$cache/last/$name/"
        echo "journal, results and boot log: $cache/last/$name"
    fi
}

# judge_the_end RESULTS: what was promised of the end of the machine has left a file of its name
# beside the results, or was not kept.
judge_the_end() {
    local results=$1 promise
    for promise in $(sed -n 's/^at the end //p' "$results"); do
        if [[ -e ${results%/*}/$promise ]]; then
            echo "ok $promise" >>"$results"
        else
            echo "not ok $promise: nothing was left that says so; see the journal's end" >>"$results"
        fi
    done
}
