#!/usr/bin/env bash
# Makes .venv and installs skyeye into it, once; later calls see that nothing has changed and return at once.
# Called by demo.sh and test.sh. Needs Python 3.11 or newer; PYTHON=/path/to/python chooses one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/skyeye-setup.done          # holds what was installed; written last
unfinished=$venv/skyeye-setup.unfinished # there while an installation runs; found later, it was interrupted
log=$venv/skyeye-setup.log

suitable() {  # a Python that runs, is new enough and can make environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate candidates=(python3.11 python3.12 python3.13 python3 python)
    if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if suitable "$candidate"; then command -v "$candidate"; return; fi
    done
    echo "error: none of ${candidates[*]} will do: skyeye needs Python 3.11 or newer with venv and pip" \
         "(Debian and Ubuntu: the package python3-venv); PYTHON=/path/to/python names one" >&2
    return 1
}

has_gpu() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; }

wanted() {  # changes whenever the installation has to be done again; the place counts because .venv cannot be moved
    { echo "$PWD $constraints"; cat pyproject.toml scripts/setup.sh ${constraints:+"$constraints"}; } | cksum
}

progress() {  # of pip's many lines, one now and then
    local line found=0 large='Downloading.*(\([0-9]{3,}(\.[0-9]+)? MB|GB\))'
    while IFS= read -r line; do
        if [[ $line =~ $large ]]; then echo "  ${line#"${line%%[! ]*}"}"; fi
        case $line in
            Collecting*) found=$((found + 1)); if ((found % 20 == 0)); then echo "  $found packages looked up"; fi ;;
            "Building wheels"*) echo "  building the packages that come as source" ;;
            "Installing collected"*) echo "  unpacking, which takes longest" ;;
        esac
    done
}

constraints=scripts/constraints-cpu.txt
if has_gpu; then constraints=; fi

# Two set-ups at the same time would tear down each other's work: the second waits for the first. Over NFS an exclusive
# lock needs a file that is open for writing; a file system without locks, or one that cannot be written, goes without.
locked=
if command -v flock >/dev/null 2>&1 && { exec 9<>pyproject.toml; } 2>/dev/null && flock 9 2>/dev/null; then locked=1; fi

if [ -f "$stamp" ] && [ ! -e "$unfinished" ] && [ "$(cat "$stamp")" = "$(wanted)" ] && suitable "$venv/bin/python"; then
    exit 0
fi

if [ -z "$locked" ]; then echo "No lock could be taken here: start no second set-up before this one has ended." >&2; fi

if [ -e "$unfinished" ]; then
    echo "An earlier set-up was interrupted; starting over."
    rm -rf "$venv"
elif [ -d "$venv" ] && ! suitable "$venv/bin/python"; then
    echo "The Python of .venv is gone or too old; making a new one."
    rm -rf "$venv"
fi

if [ ! -d "$venv" ]; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version)."
    mkdir "$venv"
    touch "$unfinished"
    "$python" -m venv "$venv"
fi
touch "$unfinished"
trap 'echo; echo "Set-up interrupted; the next call starts it over." >&2; exit 130' INT

if [ -n "$constraints" ]; then
    echo "No NVIDIA GPU here: installing for the CPU. One to three minutes; details in $log."
else
    echo "NVIDIA GPU found: installing with CUDA, several gigabytes. Details in $log."
fi
SECONDS=0
if ! "$venv/bin/python" -m pip install --progress-bar off --no-input --disable-pip-version-check \
        ${constraints:+-c "$constraints"} -e '.[test]' 2>&1 | tee "$log" | progress; then
    echo "error: pip could not install skyeye; the end of $log:" >&2
    grep -v '^WARNING: Location' "$log" | tail -n 15 >&2
    exit 1
fi
# Gradio asks for a Pillow below 13 and works with it. Pillow 13 resamples some sizes otherwise, and golden numbers are its own.
if ! "$venv/bin/python" -m pip install --no-deps --no-input --disable-pip-version-check 'pillow>=13' >>"$log" 2>&1; then
    echo "Pillow 13 could not be installed: golden numbers of RSGPT differ with older ones." >&2
fi
wanted >"$stamp"
rm "$unfinished"
echo "Installed in $SECONDS s."
