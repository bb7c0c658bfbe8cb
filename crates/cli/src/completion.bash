
# Bash also splits words at = and :, which `--set KEY=VALUE` and `hf:OWNER/NAME` contain. This
# function rejoins what was typed as one word for the program, and removes from the answers the part
# that bash already has.
_waxwork() {
    local words=() word piece rest=$COMP_LINE i
    for ((i = 0; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        if [[ $i -eq 0 || -z $rest || $rest == [[:space:]]* ]]; then
            words+=("$piece")
        else
            words[${#words[@]}-1]+=$piece
        fi
        rest=${rest#"${rest%%[![:space:]]*}"}
        rest=${rest#"$piece"}
    done
    word=${words[${#words[@]}-1]}
    # The rest of the word after the cursor is not completed.
    [[ $piece == [=:]* ]] || word=${word%"$piece"}$2
    words[${#words[@]}-1]=$word
    local COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1))
    _clap_complete_waxwork "$1" "$word" "$3"
    COMPREPLY=("${COMPREPLY[@]#"${word%"$2"}"}")
}
complete -o nospace -o bashdefault -o nosort -F _waxwork waxwork 2>/dev/null ||
    complete -o nospace -o bashdefault -F _waxwork waxwork
