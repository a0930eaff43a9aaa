# Runs one function of an acme.sh DNS script, with the helpers of acme.sh around it.
#   sh -c THIS HOME ACTION SCRIPT FUNCTIONS ACME_SH NAME VALUE [HELPER …]
# Exit code 78 (EX_CONFIG) and a line on standard error say what is missing. Variables begin with _dcv_, since scripts have no locals.

_dcv_action=$1 _dcv_script=$2 _dcv_functions=$3 _dcv_acme_sh=$4 _dcv_name=$5 _dcv_value=$6
shift 6
_dcv_helpers=$*

# What every script calls and what needs no network: enough for scripts that talk to their host by a program of their own.
_debug() { :; }
_debug2() { :; }
_debug3() { :; }
_secure_debug() { :; }
_secure_debug2() { :; }
_secure_debug3() { :; }
_info() { printf '%s\n' "${2:+$1=}${2:-$1}"; }
_err() {
  printf '%s\n' "${2:+$1=}${2:-$1}" >&2
  return 1
}
_exists() { command -v "$1" >/dev/null 2>&1; }
_contains() { printf '%s\n' "$1" | grep -- "$2" >/dev/null 2>&1; }
_startswith() { printf '%s\n' "$1" | grep -- "^$2" >/dev/null 2>&1; }
_endswith() { printf '%s\n' "$1" | grep -- "$2\$" >/dev/null 2>&1; }
_head_n() { head -n "$1"; }
_tail_n() { tail -n "$1"; }
_lower_case() { tr '[:upper:]' '[:lower:]'; }
_upper_case() { tr '[:lower:]' '[:upper:]'; }
_math() { printf '%s' "$(($*))"; }
_sleep() { sleep "$1"; }
_readaccountconf() { :; }
_readaccountconf_mutable() { :; }
_readdomainconf() { :; }

if [ "$_dcv_acme_sh" ]; then
  _dcv_home=$(dirname -- "$_dcv_acme_sh")
  if [ -z "$LE_WORKING_DIR" ] && [ -f "$_dcv_home/account.conf" ]; then
    LE_WORKING_DIR=$_dcv_home
  fi
  NO_TIMESTAMP=1
  # acme.sh runs the words it is given as a command: here one that does nothing.
  set -- :
  . "$_dcv_acme_sh" >/dev/null
  # Finds its configuration, where credentials of earlier runs may be.
  if _exists __initHome; then
    __initHome >/dev/null
  fi
  USER_AGENT=${USER_AGENT:-$DEFAULT_USER_AGENT}
  ACME_OPENSSL_BIN=${ACME_OPENSSL_BIN:-openssl}
  # Where its HTTP calls put headers; one of our own, so that runs leave nothing behind.
  HTTP_HEADER=$(mktemp) && trap 'rm -f "$HTTP_HEADER"' EXIT
fi

# Credentials stay where the configuration has them; acme.sh would write them to its own.
_saveaccountconf() { :; }
_saveaccountconf_mutable() { :; }
_savedomainconf() { :; }
_clearaccountconf() { :; }
_clearaccountconf_mutable() { :; }
_cleardomainconf() { :; }

set --
. "$_dcv_script" >/dev/null

_dcv_missing=
for _dcv_helper in $_dcv_helpers "${_dcv_functions}_add" "${_dcv_functions}_rm"; do
  if ! command -v "$_dcv_helper" >/dev/null 2>&1; then
    _dcv_missing="$_dcv_missing $_dcv_helper"
  fi
done
if [ "$_dcv_missing" ]; then
  printf 'no such function:%s\n' "$_dcv_missing" >&2
  exit 78
fi

# Whatever has ended this shell before was no success, even if it said so.
printf 'dcv: loaded\n'
case $_dcv_action in
add) "${_dcv_functions}_add" "$_dcv_name" "$_dcv_value" ;;
rm) "${_dcv_functions}_rm" "$_dcv_name" "$_dcv_value" ;;
esac
