// SPDX-License-Identifier: MIT
// cli/completion_scripts.ipp: how bash, zsh and fish ask a program what can be typed. %NAME% is that of the program,
// %FUNC% the same as part of an identifier, %LEAD% the words that lead to the service in a larger program.
#pragma once

#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

// None of them evaluates what has been typed or what the program answers.
inline constexpr const char* bash_script = R"sh(# %NAME% in bash (4.4 or later). To keep it, write it to
#   ~/.local/share/bash-completion/completions/%NAME%
# For this shell only: source <(%NAME% completion bash)
_%FUNC%_complete() {
  local left=${COMP_LINE:0:COMP_POINT} rest word i cut= at= line value directive
  local -a words=() lines=()
  # Together again what bash splits at = and the like: what no blank stands before.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    rest=${left#"${left%%[![:blank:]]*}"}
    [[ ${#word} -le ${#rest} ]] || word=$rest
    if ((i > 0)) && [[ $rest == "$left" ]]; then words[-1]+=$word; else words+=("$word"); fi
    left=${rest#"$word"}
  done
  words=("${words[@]//[\"\'\\]/}")
  local program=${words[0]} current=${words[-1]} breaks=${COMP_WORDBREAKS//[^=:@]/}
  [[ $program != '~/'* ]] || program=$HOME/${program:2}
  [[ $breaks && $current == *[$breaks]* ]] && cut=${current%"${current##*[$breaks]}"}
  COMPREPLY=()
  mapfile -t lines < <("$program" %LEAD%__complete "${words[@]:1}" 2>/dev/null)
  ((${#lines[@]})) || return 0
  directive=${lines[-1]}
  unset 'lines[-1]'
  [[ $directive != *nospace* ]] || compopt -o nospace
  for line in "${lines[@]}"; do
    value=${line%%$'\t'*}
    value=${value#"$cut"}
    [[ ${COMP_WORDS[COMP_CWORD]} == [\"\']* ]] || printf -v value %q "$value"
    COMPREPLY+=("$value")
  done
  if [[ $directive == *files* ]]; then
    compopt -o filenames
    rest=${current#"$cut"}
    [[ $rest != --*=* ]] || { at=${rest%%=*}=; rest=${rest#*=}; }
    [[ $rest != @* ]] || { at+=@; rest=${rest:1}; }
    mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -P "$at" -f -- "$rest")
  fi
}
complete -F _%FUNC%_complete %NAME%
)sh";

inline constexpr const char* zsh_script = R"sh(#compdef %NAME%
# %NAME% in zsh. To keep it, write it to a file _%NAME% in a directory of $fpath.
# For this shell only: source <(%NAME% completion zsh)
_%FUNC%() {
  local -a lines values shown options
  local line directive program=${(Q)words[1]/#\~\//$HOME/}
  lines=("${(@f)$("$program" %LEAD%__complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
  directive=${lines[-1]}
  for line in "${(@)lines[1,-2]}"; do
    values+=("${line%%$'\t'*}")
    shown+=("${${line%$'\t'}/$'\t'/  -- }")
  done
  [[ $directive != *nospace* ]] || options=(-S '')
  (( ${#values} == 0 )) || compadd "${options[@]}" -l -d shown -a values
  if [[ $directive == *files* ]]; then
    [[ $PREFIX != --*=* ]] || compset -P '--*='
    compset -P '@'
    _files
  fi
}
if [[ $funcstack[1] == _%FUNC% ]]; then _%FUNC% "$@"; else compdef _%FUNC% %NAME%; fi
)sh";

inline constexpr const char* fish_script = R"sh(# %NAME% in fish. To keep it, write it to
#   ~/.config/fish/completions/%NAME%.fish
# For this shell only: %NAME% completion fish | source
function __%FUNC%_complete
    set -l words (commandline -opc)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    set -l current (string unescape -- (commandline -ct))
    set -l lines ($program %LEAD%__complete $words "$current" 2>/dev/null)
    set -q lines[1]; or return
    set -l directive $lines[-1]
    set -e lines[-1]
    printf '%s\n' $lines
    if string match -q '*files*' -- $directive
        set -l start (string match -r '^(?:--[^=]*=)?@?' -- "$current")
        set -l rest (string sub -s (math 1 + (string length -- "$start")) -- "$current")
        for path in (__fish_complete_path "$rest")
            echo $start$path
        end
    end
end
complete -c %NAME% -f -k -a '(__%FUNC%_complete)'
)sh";

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
