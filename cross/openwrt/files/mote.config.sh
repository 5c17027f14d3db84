# UCI to mote.conf. To be read by a shell that has OpenWrt's functions.sh.
#
# mote_write_config FILE SECRETS writes the config FILE, and the secrets in it into the folder
# SECRETS, both whole or not at all. It fails, and says why, where a value cannot stand in the config.
# Above the sections of mote.conf come the keys of `main`, whatever the order in UCI.
# shellcheck shell=dash
# config_load calls what looks as if nobody did.
# shellcheck disable=SC2317

# The callbacks of config_load have no arguments of their own to be told by.
MOTE_HEAD=''
MOTE_SECTIONS=''
MOTE_FAULT=''

mote_fault() {
	[ -n "$MOTE_FAULT" ] || MOTE_FAULT=$1
}

# Sets mote_quoted: the value as it has to stand behind a key.
mote_quote() {
	case $1 in
		*'
'*) mote_fault "$2: a line end is no part of a value"; mote_quoted= ;;
		*'"'*) mote_quoted=$1
			# Without quotes a blank and # begin a comment.
			case $1 in '"'* | *' #'* | *'	#'*) mote_fault "$2: a value cannot have both \" and #, nor begin with \"" ;; esac ;;
		*) mote_quoted="\"$1\"" ;;
	esac
}

# A secret of its own becomes a file; what tells where it is stays. Sets mote_quoted.
mote_secret() {
	case $2 in
		file:* | cmd:* | env:* | cred:*) mote_quote "$2" "$1" ;;
		*'
'*) mote_fault "$1: a line end is no part of a secret"; mote_quoted= ;;
		*)
			MOTE_SECRET_NUMBER=$((MOTE_SECRET_NUMBER + 1))
			printf '%s\n' "$2" >"$MOTE_SECRETS_NEW/$MOTE_SECRET_NUMBER" || mote_fault "$1: its file cannot be written"
			mote_quoted="\"file:$MOTE_SECRETS/$MOTE_SECRET_NUMBER\""
			;;
	esac
}

# One line more, where it belongs.
mote_line() {
	if [ "$mote_type" = mote ]; then
		MOTE_HEAD="$MOTE_HEAD$1
"
	else
		mote_lines="$mote_lines$1
"
	fi
}

# KEY as UCI has it, VALUE.
mote_pair() {
	case $1 in
		to_all) mote_key='to!' ;;
		*) mote_key=$(echo "$1" | tr _ -) ;;
	esac
	case $1 in
		password | token) mote_secret "$1" "$2" ;;
		*) mote_quote "$2" "$1" ;;
	esac
	mote_line "$mote_key = $mote_quoted"
}

# What a section was is known when the next one begins, since its name is one of its options.
mote_close() {
	# A list is one value of several words.
	[ -z "$mote_list" ] || mote_pair "$mote_list" "$mote_items"
	mote_list='' mote_items=''
	case $mote_type in
		'' | mote) ;;
		rewrite) MOTE_SECTIONS="$MOTE_SECTIONS
[rewrite]
$mote_lines" ;;
		relay | listen | clients | route)
			[ -n "$mote_name" ] || mote_fault "section $mote_type: it has no name (route: no pattern)"
			MOTE_SECTIONS="$MOTE_SECTIONS
[$mote_type $mote_name]
$mote_lines" ;;
		*) mote_fault "section $mote_type: there is no such section" ;;
	esac
	mote_type='' mote_name='' mote_lines=''
}

mote_callbacks() {
	mote_type='' mote_name='' mote_lines='' mote_list='' mote_items=''

	# TYPE and NAME; without both behind the last section.
	config_cb() {
		mote_close
		mote_type=${1:-}
		# The name of a section in UCI has no dots and the like; an option has.
		mote_name=${2:-}
		case $mote_name in cfg[0-9a-f]*) mote_name='' ;; esac
	}

	option_cb() {
		[ -n "$mote_type" ] || return 0
		[ -z "$mote_list" ] || { mote_pair "$mote_list" "$mote_items"; mote_list='' mote_items=''; }
		case $mote_type.$1 in
			# UCI has the number of a list's items as an option.
			*_LENGTH | *_ITEM[0-9]* | mote.enabled) ;;
			relay.name | listen.name | clients.name | clients.range | route.pattern)
				case $2 in
					*']'* | *'
'*) mote_fault "section $mote_type: $1 cannot have ] or a line end" ;;
				esac
				mote_name=$2 ;;
			*) mote_pair "$1" "$2" ;;
		esac
	}

	list_cb() {
		[ -n "$mote_type" ] || return 0
		if [ "$mote_type.$1" = rewrite.address ]; then
			case $2 in
				*'
'*) mote_fault "rewrite: a line end is no part of an address" ;;
				*=*) mote_line "$2" ;;
				*) mote_fault "rewrite: '$2' is not 'OLD = NEW'" ;;
			esac
			return 0
		fi
		[ "$mote_list" = "$1" ] || {
			[ -z "$mote_list" ] || mote_pair "$mote_list" "$mote_items"
			mote_list=$1 mote_items=''
		}
		mote_items=${mote_items:+$mote_items }$2
	}
}

mote_write_config() {
	MOTE_FILE=$1 MOTE_SECRETS=$2 MOTE_SECRETS_NEW=$2.new MOTE_SECRET_NUMBER=0
	MOTE_HEAD='' MOTE_SECTIONS='' MOTE_FAULT=''
	mkdir -p "${MOTE_FILE%/*}" || mote_fault "${MOTE_FILE%/*} cannot be made"
	# A new file is nobody else's from its first moment on.
	mote_umask=$(umask)
	umask 077
	rm -rf "$MOTE_SECRETS_NEW"
	mkdir -p "$MOTE_SECRETS_NEW" || mote_fault "$MOTE_SECRETS_NEW cannot be made"
	mote_callbacks
	config_load mote
	# Not every config_load ends with a call of its own.
	mote_close
	reset_cb
	if [ -z "$MOTE_FAULT" ]; then
		printf '# Made of /etc/config/mote; what is changed here is lost.\n%s%s' "$MOTE_HEAD" "$MOTE_SECTIONS" >"$MOTE_FILE.new" ||
			mote_fault "$MOTE_FILE.new cannot be written"
	fi
	umask "$mote_umask"
	if [ -n "$MOTE_FAULT" ]; then
		rm -rf "$MOTE_SECRETS_NEW" "$MOTE_FILE.new"
		echo "/etc/config/mote: $MOTE_FAULT" >&2
		return 1
	fi
	# sendmail reads the config as whoever calls it; there are no secrets in it.
	chmod 644 "$MOTE_FILE.new"
	if grep -q '^mote:' "${MOTE_GROUPS:-/etc/group}" 2>/dev/null; then
		chgrp -R mote "$MOTE_SECRETS_NEW" 2>/dev/null && chmod -R g+rX "$MOTE_SECRETS_NEW"
	fi
	rm -rf "$MOTE_SECRETS"
	mv "$MOTE_SECRETS_NEW" "$MOTE_SECRETS" && mv "$MOTE_FILE.new" "$MOTE_FILE"
}
