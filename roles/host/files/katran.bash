# bash completion of katran                                                                   -*- shell-script -*-
# SPDX-License-Identifier: GPL-3.0-or-later
# Made by scripts/manual of the parsers in plugins/module_utils/_cli.

_katran() {
    # Words as they are typed: bash takes a name such as 198.51.100.1:443/tcp for several.
    local line=${COMP_LINE:0:COMP_POINT} words=() cur prev command='' word
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    cur=${words[-1]} prev=${words[-2]}
    for word in "${words[@]:1:${#words[@]}-2}"; do
        [[ $word == -* ]] || { command=$word; break; }
    done
    COMPREPLY=()
    case $command:$prev in
        capture:--vip) _katran_names vips; return ;;
        capture:--client) return ;;
        capture:--real) _katran_names reals; return ;;
        capture:--packets) return ;;
        capture:--seconds) return ;;
        capture:--snaplen) return ;;
        capture:--size) return ;;
        capture:-w|capture:--write) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        capture:--instance) _katran_names instances; return ;;
        checks:--instance) _katran_names instances; return ;;
        checks:--wait) return ;;
        doctor:--instance) _katran_names instances; return ;;
        doctor:--vip) _katran_names vips; return ;;
        doctor:--real) _katran_names reals; return ;;
        doctor:--probes) return ;;
        doctor:--bundle) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        drain:--by) return ;;
        drain:--wait) return ;;
        drain:--instance) _katran_names instances; return ;;
        flows:--vip) _katran_names vips; return ;;
        flows:--real) _katran_names reals; return ;;
        flows:--client) return ;;
        flows:--limit) return ;;
        flows:--instance) _katran_names instances; return ;;
        history:--instance) _katran_names instances; return ;;
        reals:--instance) _katran_names instances; return ;;
        status:--instance) _katran_names instances; return ;;
        top:--interval) return ;;
        top:--count) return ;;
        top:--instance) _katran_names instances; return ;;
        trace:--server-id) return ;;
        trace:--misses) return ;;
        trace:--seconds) return ;;
        trace:--instance) _katran_names instances; return ;;
        undrain:--instance) _katran_names instances; return ;;
        vips:--instance) _katran_names instances; return ;;
    esac
    if [[ $cur == -* ]]; then
        case $command in
            capture) _katran_reply "--vip --client --real --packets --seconds --snaplen --size -w --write --instance --json --help" ;;
            checks) _katran_reply "--instance --json --now --wait --help" ;;
            doctor) _katran_reply "--instance --json --vip --real --probes --bundle --mask --compile --no-probes --help" ;;
            drain) _katran_reply "--withdraw --by --wait --instance --json --help" ;;
            flows) _katran_reply "--vip --real --client --stale --limit --instance --json --help" ;;
            history) _katran_reply "--instance --json --help" ;;
            names) _katran_reply "--help" ;;
            reals) _katran_reply "--instance --json --no-flows --help" ;;
            status) _katran_reply "--instance --json --help" ;;
            top) _katran_reply "--interval --count --once --reals --instance --json --help" ;;
            trace) _katran_reply "--server-id --misses --seconds --instance --json --help" ;;
            undrain) _katran_reply "--instance --json --help" ;;
            vips) _katran_reply "--instance --json --help" ;;
        esac
    else
        case $command in
            "") _katran_reply "capture checks doctor drain flows history names reals status top trace undrain vips" ;;
            checks) _katran_names vips reals ;;
            history) _katran_reply "diff show" ;;
            names) _katran_reply "vips reals instances" ;;
            reals) _katran_names vips reals ;;
            status) _katran_names vips reals ;;
            vips) _katran_names vips reals ;;
        esac
    fi
}

_katran_reply() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
    # What comes before the last colon is there already.
    if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then
        local there=${cur%"${cur##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$there"}")
    fi
}

_katran_names() {
    _katran_reply "$(katran names "$@" 2>/dev/null)"
}

complete -F _katran katran
