"""Function words of languages that web captions are written in, and how much each tells.

Twenty or so of the commonest function words a language, which make up a third to a half of running text. Those that English
texts have too, as words or in names, tell little, and so does a word with an accent. Scripts other than Latin need no words:
letters tell them.
"""

from __future__ import annotations

ENGLISH_WORDS = """
the a an and of in on with is are at to for from by this that it its his her their has have was were be as or but not
which who there near next into over under behind between while some two one other very
"""
FOREIGN_WORDS = """
Spanish: el la los las un una unos unas y de del en con por para que es son está están su sus al como más pero muy sobre
French: le la les un une des et du dans avec sur pour par qui que est sont au aux ce cette ces son sa ses leur pas plus en
German: der das den dem ein eine einen einem einer und mit auf im ist sind von vor zu für nicht auch sich bei aus über
Italian: il lo la gli le un una uno di del della dei delle e con per che è sono nel nella su al alla da più non una
Portuguese: o os um uma uns umas e do da dos das em no na nos nas com por para que é são seu sua ao mais não sobre
Dutch: de het een en van op met voor zijn aan te bij naar uit ook niet dat deze naast tussen onder haar hun wordt
Swedish: en ett och som på med är av för till från den det de inte om sin sitt
Danish: og på med er af til fra den det som ikke sin hans
Polish: i w na z do jest są się nie to że od po za przez oraz przy jego jej
Turkish: bir ve bu ile için da de olan çok üzerinde gibi daha var
Indonesian: yang dan di dengan untuk dari ini pada adalah sebuah seorang sedang tidak atau dalam
Vietnamese: và của là một trong với có được cho trên các những này người đang
Czech: a na se je v s ze do jsou pro který která při nebo jako
Romanian: și în cu pe la din este sunt un o care pentru lui ei
"""
# Words, names and abbreviations of English texts that are spelled like these.
SHARED_WORDS = """
a i o e y an on in is to of and the for by de la le en un do no da di as at or so me son van den das von al el los las dos
pour per con non om plus que s w v z over sin se ten sa na pot ne za may under ei es ce due pa ma ta te du der des gli bin
met bad die het men with har hun var bir bu ini pro po lui au sur
"""
ENGLISH = frozenset(ENGLISH_WORDS.split())
WEAK = frozenset(SHARED_WORDS.split()) - ENGLISH
STRONG = frozenset(word for word in FOREIGN_WORDS.split() if not word.endswith(":")) - WEAK - ENGLISH
LATIN, LATIN_END = 0xC0, 0x250  # letters with marks, and other letters of European languages


def foreign(word: str) -> int:
    """Return how much a word, in lower case and without punctuation, tells that a text is not English: 0, 1 or 2."""
    if word in STRONG:
        return 2
    return int(word in WEAK or any(LATIN <= ord(sign) < LATIN_END and sign.isalpha() for sign in word))
