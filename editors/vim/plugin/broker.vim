vim9script
# Defines `:Broker`, and starts broker with Vim unless g:broker_autostart is false. See `:help broker`.
if exists('g:loaded_broker') || !has('vim9script') || !has('channel') || !has('popupwin')
  finish
endif
g:loaded_broker = true

command -nargs=* -complete=customlist,broker#Complete Broker broker#Perform(<q-args>)

if get(g:, 'broker_autostart', true)
  augroup broker_start
    autocmd!
    autocmd VimEnter * ++once broker#Start()
  augroup END
endif
