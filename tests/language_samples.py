"""Captions and alt-texts in English and in other languages, written for the tests: what the language flag errs on."""

ENGLISH = """
A red bicycle leans against a brick wall in the afternoon sun.
Nike Air Max 90 Essential White Black
The image features a large brown dog lying on a green couch, with a blue pillow next to it.
Vintage Art Deco Brooch 1930s
Two men are playing chess in a park while a child watches them.
iPhone 12 Pro Max Case Clear
Los Angeles Lakers vs. San Antonio Spurs at the Staples Center
El Paso, Texas skyline at night
La La Land poster
Cafe del Mar sunset, Ibiza
De Niro and Pacino in Heat
Samsung Galaxy S21 Ultra 128GB
A bowl of ramen with a soft boiled egg, scallions and nori.
Villa for sale in Costa del Sol
Mercedes-Benz C-Class 2015 interior
man with hat
The Eiffel Tower in Paris is lit up at night.
Le Creuset Dutch oven in red
A map of the Rio de Janeiro metro.
Die-cast model car, 1:18
logo
IMG_2034.JPG
Hand painted ceramic vase, blue and white
An old photo of a family standing in front of a house, there are two cars behind them.
Happy Birthday Card
Ludwig van Beethoven portrait
Crème brûlée with raspberries on a plate
2019 Honda Civic EX-L 4dr
Kids bedroom furniture set
A cat and a dog are sleeping on the same bed.
Château de Versailles façade
Museo del Prado de Madrid
Beyoncé and Penélope Cruz at the Met Gala
L'Oréal Paris Elvive shampoo
Playa del Carmen, México
Vincent van Gogh, Café Terrace at Night
Puerto de la Cruz hotel
The façade of the Château de Chenonceau, in the Loire valley.
São Paulo street art
Jalapeño poppers with crème fraîche
""".strip().split("\n")
OTHERS = """
Una mujer con un vestido rojo camina por la calle
Zapatos de mujer para la fiesta
El perro está en el jardín con los niños
Un homme avec un chapeau sur la plage
Le chat dort sur le canapé
Robe de mariée pour femme
Ein Mann mit einem Hut sitzt auf der Bank
Die Katze schläft auf dem Sofa
Rotes Fahrrad vor dem Haus
Un gatto che dorme sul divano della casa
Piatto di pasta con il pomodoro
Uma mulher com um vestido vermelho em uma praia
Casa à venda no centro
Een man met een hoed zit op een bank
Fiets voor het huis
En man med hatt sitter på en bänk och läser
Kobieta w czerwonej sukni na plaży
Kot śpi na kanapie i nie jest sam
Kırmızı elbiseli bir kadın ve bir çocuk
Seorang wanita dengan gaun merah di pantai
Một người đàn ông đội mũ và một con chó
Muž v klobouku, který je na lavičce a čte
Un bărbat cu pălărie și un câine pe plajă
Женщина в красном платье на пляже
一只猫在沙发上睡觉
赤いドレスを着た女性
빨간 드레스를 입은 여자
امرأة ترتدي فستانا أحمر
אישה בשמלה אדומה על החוף
लाल पोशाक में एक महिला
Γυναίκα με κόκκινο φόρεμα
ผู้หญิงในชุดสีแดง
""".strip().split("\n")
